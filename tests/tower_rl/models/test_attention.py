"""Attention over packed documents against one plain eager pass a document, family by family."""

import numpy as np
import pytest
import torch
from helpers import FAMILIES, VOCABULARY, Largest, family_models, plain_document_losses, random_pack
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn.functional import scaled_dot_product_attention

from tower_rl.lm_batching import joined
from tower_rl.models import attention
from tower_rl.models.attention import BLOCK, attend
from tower_rl.models.layout import documents
from tower_rl.models.supervised import PackedDocuments

CPU = torch.device("cpu")
LENGTHS = (BLOCK, 1, 2 * BLOCK + 44, BLOCK + 1, 7, BLOCK - 1, 8, 1)
# Prompts, each with the responses that share it.
BRANCHES = ((BLOCK + 40, (BLOCK + 30, 20, 1)), (37, (50, 48)), (36, (49,)), (1, (2, 1)))


@pytest.fixture(params=FAMILIES)
def models(request):
    """The model with packed documents, and the same by transformers alone."""
    copy, plain = family_models(request.param)
    return PackedDocuments(copy, chunk=50), plain


@pytest.fixture(scope="module")
def pack():
    return random_pack(0, LENGTHS)


def hidden_states(packed, micro_batch, offsets):
    ids, positions = torch.tensor(micro_batch.token_ids)[None], torch.tensor(micro_batch.position_ids)[None]
    where = documents(offsets, CPU)
    return packed.model.model(input_ids=ids, position_ids=positions, use_cache=False, documents=where).last_hidden_state[0]


@torch.no_grad()
def test_documents_are_as_if_alone(models, pack):
    packed, plain = models
    micro_batch = joined([pack])
    found = hidden_states(packed, micro_batch, micro_batch.offsets)
    alone = [plain.model(ids[None]).last_hidden_state[0] for ids in torch.tensor(pack.token_ids).split(LENGTHS)]
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-4, rtol=1e-4)
    together = hidden_states(packed, micro_batch, np.array([0, pack.tokens]))
    far = (together - found).abs().amax(1) > 0.1
    assert not far[: LENGTHS[0]].any() and far[LENGTHS[0] :].float().mean() > 0.9, "documents that see others must differ"


def test_losses_and_gradients_are_as_if_alone(models, pack):
    packed, plain = models
    total, each = packed(joined([pack]))
    expected = plain_document_losses(plain, pack)
    torch.testing.assert_close(each, expected.detach(), atol=1e-4, rtol=1e-4)
    total.backward()
    expected.sum().backward()
    wanted = dict(plain.named_parameters())
    for name, parameter in packed.model.named_parameters():
        scale = wanted[name].grad.abs().max()
        assert scale > 1e-3, f"{name}: a gradient of zero proves nothing"
        torch.testing.assert_close(parameter.grad / scale, wanted[name].grad / scale, atol=1e-4, rtol=0, msg=name)


def branches():
    """[D] lengths and [D] prefixes of the prompts and responses of BRANCHES."""
    lengths, prefixes = [], []
    for prompt, responses in BRANCHES:
        prefixes += [-1, *[len(lengths)] * len(responses)]
        lengths += [prompt, *responses]
    return np.array(lengths), np.array(prefixes)


def test_responses_are_as_if_each_stood_after_its_own_prompt(models):
    """Hidden states and gradients, with prompts computed once and responses beyond blocks and windows."""
    packed, plain = (model.get_decoder() for model in (models[0].model, models[1]))
    lengths, prefixes = branches()
    offsets = np.cumsum([0, *lengths])
    ids = torch.randint(3, VOCABULARY, (offsets[-1],), generator=torch.Generator().manual_seed(0))
    parts, starts = ids.split(lengths.tolist()), np.where(prefixes < 0, 0, lengths[prefixes])
    positions = torch.cat([torch.arange(start, start + length) for start, length in zip(starts, lengths, strict=True)])
    where = documents(offsets, CPU, prefixes)
    assert any(group.hidden is not None for group in where.groups), "prefixes must be padded"
    found = packed(input_ids=ids[None], position_ids=positions[None], use_cache=False, documents=where).last_hidden_state[0]
    whole = [torch.cat([parts[before], part]) if before >= 0 else part for part, before in zip(parts, prefixes, strict=True)]
    alone = [plain(each[None]).last_hidden_state[0, start:] for each, start in zip(whole, starts, strict=True)]
    torch.testing.assert_close(found, torch.cat(alone), atol=1e-4, rtol=1e-4)
    upstream = torch.randn(found.shape, generator=torch.Generator().manual_seed(1))
    (found * upstream).sum().backward()
    (torch.cat(alone) * upstream).sum().backward()
    wanted = dict(plain.named_parameters())
    for name, parameter in packed.named_parameters():
        scale = wanted[name].grad.abs().max()
        assert scale > 1e-3, f"{name}: a gradient of zero proves nothing"
        torch.testing.assert_close(parameter.grad / scale, wanted[name].grad / scale, atol=1e-4, rtol=0, msg=name)


@st.composite
def packs_with_prefixes(draw):
    """[D] lengths, and [D] prefixes that have none themselves."""
    prompts = draw(st.lists(st.integers(1, 9), min_size=1, max_size=5))
    responses = draw(st.lists(st.tuples(st.integers(1, 9), st.integers(-1, len(prompts) - 1)), max_size=9))
    lengths, prefixes = [*prompts, *[r[0] for r in responses]], [-1] * len(prompts) + [r[1] for r in responses]
    return np.array(lengths), np.array(prefixes)


@settings(max_examples=60, deadline=None)
@given(packs_with_prefixes(), st.sampled_from([None, 1, 2, 5]))
def test_a_token_sees_its_window_of_its_prefix_and_its_document(pack, window):
    """Values are one-hot, so that the output is the weights: equal ones for all that is seen."""
    lengths, prefixes = pack
    offsets = np.cumsum([0, *lengths])
    count = offsets[-1]
    where = documents(offsets, CPU, prefixes)
    flat, values = torch.zeros(1, 1, count, count), torch.eye(count)[None, None]
    weights, _ = attend(torch.nn.Module(), flat, flat, values, None, documents=where, scaling=1.0, sliding_window=window)
    for number, before in enumerate(prefixes):
        past = [] if before < 0 else [*range(offsets[before], offsets[before + 1])]
        for i in range(offsets[number], offsets[number + 1]):
            past.append(i)
            seen = past if window is None else past[-window:]
            expected = torch.zeros(count)
            expected[seen] = 1 / len(seen)
            torch.testing.assert_close(weights[0, i, 0], expected)


def test_gradients_of_a_prefix_add_up_in_float32():
    """Each of 1,000 responses of one token sees its prompt of one token with weight 1/2; bfloat16 sums would end at 128."""
    query = torch.zeros(1, 1, 1001, 1, dtype=torch.bfloat16)
    value = torch.zeros_like(query, requires_grad=True)
    where = documents(np.arange(1002), CPU, np.array([-1] + [0] * 1000))
    out, _ = attend(torch.nn.Module(), query, query, value, None, documents=where, scaling=1.0)
    out.float().sum().backward()
    assert abs(value.grad.flatten()[0].item() - 501) <= 2


def test_a_prefix_of_a_prefix_is_refused():
    with pytest.raises(ValueError, match="the prefix of a document has a prefix"):
        documents(np.array([0, 2, 4, 6]), CPU, np.array([-1, 0, 1]))


def random_heads():
    """Queries of 4 heads, keys and values of 2, and their gradient's weights, for BRANCHES."""
    lengths, prefixes = branches()
    generator = torch.Generator().manual_seed(0)
    shapes = [(1, heads, lengths.sum(), 16) for heads in (4, 2, 2)] + [(1, lengths.sum(), 4, 16)]
    return *(torch.randn(shape, generator=generator) for shape in shapes), np.cumsum([0, *lengths]), prefixes


def with_gradients(attends, device, dtype, q, k, v, upstream):
    """What attention answers, and the gradients of its arguments."""
    arguments = [x.to(device, dtype).requires_grad_() for x in (q, k, v)]
    out = attends(*arguments)
    return [x.detach().float().cpu() for x in (out, *torch.autograd.grad((out * upstream.to(device)).sum(), arguments))]


def attended(where, window):
    """Attention as a function of queries, keys and values alone."""
    return lambda *x: attend(torch.nn.Module(), *x, None, documents=where, scaling=0.3, sliding_window=window)[0]


def lower_right(q, k, v, offsets_q, offsets_k, longest_q, longest_k, *, scale, window_size, enable_gqa):
    """What flash attention computes: the last query of each document stands at its last key."""
    outs = []
    for a, b, c, d in zip(offsets_q[:-1], offsets_q[1:], offsets_k[:-1], offsets_k[1:], strict=True):
        assert b - a <= longest_q and d - c <= longest_k
        distance = (d - c - (b - a) + torch.arange(b - a))[:, None] - torch.arange(d - c)
        mask = (distance >= 0) & ((distance <= window_size[0]) if window_size[0] >= 0 else True)
        heads = (x.transpose(0, 1) for x in (q[a:b], k[c:d], v[c:d]))
        outs.append(scaled_dot_product_attention(*heads, mask, scale=scale, enable_gqa=enable_gqa).transpose(0, 1))
    return torch.cat(outs)


@pytest.mark.parametrize("window", [None, 30])
def test_flash_attention_is_told_of_prefixes_and_documents(monkeypatch, window):
    *values, offsets, prefixes = random_heads()
    where = documents(offsets, CPU, prefixes)
    expected = with_gradients(attended(where, window), CPU, torch.float32, *values)
    monkeypatch.setattr(attention, "varlen_attn", lower_right)

    def flash(*x):
        return attention._flash(*(y[0].transpose(0, 1) for y in x), where, 0.3, window)[None]

    for a, b in zip(with_gradients(flash, CPU, torch.float32, *values), expected, strict=True):
        torch.testing.assert_close(a, b, atol=1e-4, rtol=1e-4)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="flash attention needs a GPU")
@pytest.mark.parametrize("window", [None, 30])
def test_flash_attention_is_as_block_by_block(window):
    *values, offsets, prefixes = random_heads()
    found, expected = (
        with_gradients(attended(documents(offsets, device, prefixes), window), device, dtype, *values)
        for device, dtype in ((torch.device("cuda"), torch.bfloat16), (CPU, torch.float32))
    )
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a / b.abs().max(), b / b.abs().max(), atol=0.03, rtol=0)


@pytest.mark.parametrize("window", [None, 1, 5])
def test_a_token_sees_its_window_of_its_document(window):
    """Values are one-hot, so that the output is the weights: equal ones for all that is seen."""
    lengths = (4, 1, 9)
    count = sum(lengths)
    flat, values = torch.zeros(1, 1, count, count), torch.eye(count)[None, None]
    where = documents(np.cumsum([0, *lengths]), CPU)
    weights, _ = attend(torch.nn.Module(), flat, flat, values, None, documents=where, scaling=1.0, sliding_window=window)
    start = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
    for i in range(count):
        first = start[i] if window is None else max(start[i], i - window + 1)
        seen = torch.zeros(count)
        seen[first : i + 1] = 1 / (i + 1 - first)
        torch.testing.assert_close(weights[0, i, 0], seen)


def test_what_it_cannot_do_it_refuses():
    where = documents(np.array([0, 3]), CPU)
    row, mask = torch.zeros(1, 1, 3, 2), torch.ones(1, 1, 3, 3)
    for query, attention_mask, dropout in ((row, None, 0.1), (row, mask, 0.0), (row.expand(2, -1, -1, -1), None, 0.0)):
        with pytest.raises(ValueError, match="one row, no mask and no dropout"):
            attend(torch.nn.Module(), query, query, query, attention_mask, documents=where, scaling=1.0, dropout=dropout)


def test_memory_grows_with_the_tokens_alone():
    """The largest tensor of forward and backward pass over one long document is a block's scores."""
    tokens, heads = 16 * BLOCK, 2
    query = torch.randn(1, heads, tokens, 4, requires_grad=True)
    where = documents(np.array([0, tokens]), CPU)
    with Largest() as largest:
        out, _ = attend(torch.nn.Module(), query, query, query, None, documents=where, scaling=1.0)
        out.sum().backward()
    assert largest.elements <= heads * BLOCK * tokens
