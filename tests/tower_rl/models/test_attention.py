"""Attention over packed documents against one plain eager pass a document, family by family."""

import numpy as np
import pytest
import torch
from helpers import VOCABULARY, Largest, plain_document_losses, random_pack
from transformers import AutoConfig, AutoModelForCausalLM

from tower_rl.lm_batching import joined
from tower_rl.models.attention import BLOCK, attend, documents
from tower_rl.models.supervised import PackedDocuments

LENGTHS = (BLOCK, 1, 2 * BLOCK + 44, BLOCK + 1, 7, BLOCK - 1, 8, 1)
# Weights so large that attention is far from uniform, and caps so small that they bend.
SIZES = {
    "vocab_size": VOCABULARY,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 512,
    "initializer_range": 0.3,
    "num_hidden_layers": 2,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "pad_token_id": 0,
}
SLIDING = {"num_hidden_layers": 3, "layer_types": ["sliding_attention", "full_attention", "sliding_attention"]}
CAPS = {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 16}
FAMILIES = {
    "llama": ("llama", {}),
    "qwen2": ("qwen2", {}),
    "qwen3": ("qwen3", {}),
    "gemma2, window in a block": ("gemma2", SLIDING | CAPS | {"sliding_window": 30}),
    "gemma2, window over blocks": ("gemma2", SLIDING | CAPS | {"sliding_window": BLOCK + 50}),
    "gemma3": ("gemma3_text", SLIDING | {"sliding_window": 50, "query_pre_attn_scalar": 16}),
    "gemma3, window of a block": ("gemma3_text", SLIDING | {"sliding_window": BLOCK, "query_pre_attn_scalar": 16}),
}


@pytest.fixture(params=FAMILIES)
def models(request):
    """The model with packed documents, and the same by transformers alone."""
    family, changes = FAMILIES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        plain, copy = (
            AutoModelForCausalLM.from_config(AutoConfig.for_model(family, **SIZES | changes), attn_implementation=kind)
            for kind in ("eager", "sdpa")
        )
    copy.load_state_dict(plain.state_dict())
    return PackedDocuments(copy, chunk=50), plain


@pytest.fixture(scope="module")
def pack():
    return random_pack(0, LENGTHS)


def hidden_states(packed, micro_batch, offsets):
    ids, positions = torch.tensor(micro_batch.token_ids)[None], torch.tensor(micro_batch.position_ids)[None]
    where = documents(offsets, torch.device("cpu"))
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


@pytest.mark.parametrize("window", [None, 1, 5])
def test_a_token_sees_its_window_of_its_document(window):
    """Values are one-hot, so that the output is the weights: equal ones for all that is seen."""
    lengths = (4, 1, 9)
    count = sum(lengths)
    flat, values = torch.zeros(1, 1, count, count), torch.eye(count)[None, None]
    where = documents(np.cumsum([0, *lengths]), torch.device("cpu"))
    weights, _ = attend(torch.nn.Module(), flat, flat, values, None, documents=where, scaling=1.0, sliding_window=window)
    start = np.repeat(np.cumsum([0, *lengths[:-1]]), lengths)
    for i in range(count):
        first = start[i] if window is None else max(start[i], i - window + 1)
        seen = torch.zeros(count)
        seen[first : i + 1] = 1 / (i + 1 - first)
        torch.testing.assert_close(weights[0, i, 0], seen)


def test_what_it_cannot_do_it_refuses():
    where = documents(np.array([0, 3]), torch.device("cpu"))
    row, mask = torch.zeros(1, 1, 3, 2), torch.ones(1, 1, 3, 3)
    for query, attention_mask, dropout in ((row, None, 0.1), (row, mask, 0.0), (row.expand(2, -1, -1, -1), None, 0.0)):
        with pytest.raises(ValueError, match="one row, no mask and no dropout"):
            attend(torch.nn.Module(), query, query, query, attention_mask, documents=where, scaling=1.0, dropout=dropout)


def test_memory_grows_with_the_tokens_alone():
    """The largest tensor of forward and backward pass over one long document is a block's scores."""
    tokens, heads = 16 * BLOCK, 2
    query = torch.randn(1, heads, tokens, 4, requires_grad=True)
    where = documents(np.array([0, tokens]), torch.device("cpu"))
    with Largest() as largest:
        out, _ = attend(torch.nn.Module(), query, query, query, None, documents=where, scaling=1.0)
        out.sum().backward()
    assert largest.elements <= heads * BLOCK * tokens
