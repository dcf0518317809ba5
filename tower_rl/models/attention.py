"""Attention that keeps packed documents apart, registered with transformers under the name ATTENTION.

A model whose attention it is takes `documents=` in its forward call. A document may go on from another one of the pack, its
prefix, as responses do from the prompt that they share. No mask of the whole pack is ever made: on CUDA the boundaries go to
flash attention, elsewhere documents of like length are computed together, block by block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from tower_rl.models.layout import Documents, Group

ATTENTION = "documents"

BLOCK = 128  # queries at once: small, since the half of the last square block is computed in vain


def attend(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    *,
    documents: Documents,
    scaling: float,
    dropout: float = 0.0,
    sliding_window: int | None = None,
    softcap: float | None = None,
    **_: Any,
) -> tuple[Tensor, None]:
    """Causal attention inside each document and its prefix, in the form that transformers asks for.

    Args:
        module: the attention layer.
        query: [1, H, N, E].
        key: [1, K, N, E] of K heads, each shared by H / K query heads.
        value: [1, K, N, E].
        attention_mask: None, since transformers makes none for a name that is not in its registry of masks.
        documents: of the pack.
        scaling: factor of the scores.
        dropout: of the weights; not supported.
        sliding_window: tokens that a token sees, itself and those of the prefix included; None for all before it.
        softcap: scores s become softcap * tanh(s / softcap) (Gemma 2, arXiv:2408.00118, section 2).

    Returns:
        [1, N, H, E], and no weights.

    Raises:
        ValueError: for dropout, for a mask, and for more than one row.
    """
    if dropout or attention_mask is not None or len(query) != 1:
        raise ValueError("attention over packed documents takes one row, no mask and no dropout")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    window = sliding_window if sliding_window is not None and sliding_window < documents.reach else None
    if q.is_cuda and q.dtype != torch.float32 and softcap is None:  # what flash attention knows
        return _flash(q, k, v, documents, scaling, window)[None], None
    out: Tensor = _Blocks.apply(q, k, v, documents, _Form(scaling, window, softcap))
    return out[None], None


AttentionInterface.register(ATTENTION, attend)


def _flash(q: Tensor, k: Tensor, v: Tensor, documents: Documents, scaling: float, window: int | None) -> Tensor:
    if documents.seen is not None:
        k, v = (_Repeated.apply(x, documents.seen) for x in (k, v))
    offsets, most = (documents.offsets, documents.seen_offsets), (documents.longest, documents.reach)
    before = -1 if window is None else window - 1
    # A document's last query stands at its last key (cf. torch.nn.attention.bias.causal_lower_right).
    out = varlen_attn(q, k, v, *offsets, *most, scale=scaling, window_size=(before, 0), enable_gqa=True)
    assert isinstance(out, Tensor)
    return out


class _Repeated(torch.autograd.Function):
    """Rows of x, some of them several times."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, places: Tensor) -> Tensor:
        ctx.save_for_backward(places)
        ctx.count = len(x)
        return x.index_select(0, places)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return _added(grads[0].new_zeros(ctx.count, *grads[0].shape[1:]), ctx.saved_tensors[0], grads[0]), None


def _added(x: Tensor, places: Tensor, rows: Tensor) -> Tensor:
    """x and the rows at these places of it, which may repeat, added up in float32."""
    return x.float().index_add_(0, places, rows.float()).to(x.dtype)


@dataclass(frozen=True, slots=True)
class _Form:
    scaling: float
    window: int | None
    softcap: float | None


class _Blocks(torch.autograd.Function):
    """Attention by plain matrix products. The backward pass computes the weights again, so that memory grows with N only.

    On a CPU in bfloat16 this takes a half to a third of the time of one scaled_dot_product_attention a document, most of
    all in the backward pass, since query heads that share a key become rows of one product.
    """

    @staticmethod
    def forward(ctx: Any, q: Tensor, k: Tensor, v: Tensor, documents: Documents, form: _Form) -> Tensor:
        heads = q.shape[1] // k.shape[1]
        parts = []
        for group in documents.groups:
            queries, keys, values = _rows(q, group, group.tokens, heads), *(_rows(x, group, group.seen, 1) for x in (k, v))
            out = torch.empty_like(queries)
            for here, seen in _spans(queries.shape[3], keys.shape[3], form.window):
                weights, _ = _weights(queries[..., here, :], keys[..., seen, :], _part(group.hidden, seen), form)
                out[..., here, :] = _unfold(_fold(weights.to(v.dtype)) @ values[:, :, 0, seen], heads)
            parts.append(_flat(out))
        ctx.save_for_backward(q, k, v)
        ctx.documents, ctx.form = documents, form
        return torch.cat(parts).index_select(0, documents.places)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        heads = q.shape[1] // k.shape[1]
        own, before = [], []
        for group in ctx.documents.groups:
            grad = grads[0].index_select(0, group.tokens).index_fill_(0, group.padding, 0.0)
            grad = grad.view(*group.shape, -1, heads, q.shape[2]).permute(0, 2, 3, 1, 4)
            queries, keys, values = _rows(q, group, group.tokens, heads), *(_rows(x, group, group.seen, 1) for x in (k, v))
            found = _group_gradients(queries, keys, values, grad, group.hidden, ctx.form)
            own.append([_flat(x[..., -group.shape[1] :, :]) for x in found])
            before.append([_flat(x[..., : -group.shape[1], :]) for x in found[1:]])
        whole = [torch.cat(part).index_select(0, ctx.documents.places) for part in zip(*own, strict=True)]
        if ctx.documents.prefixes is not None:
            parts = map(torch.cat, zip(*before, strict=True))
            whole[1:] = [_added(x, ctx.documents.prefixes, part) for x, part in zip(whole[1:], parts, strict=True)]
        return *whole, None, None


def _group_gradients(
    q: Tensor, k: Tensor, v: Tensor, grad: Tensor, hidden: Tensor | None, form: _Form
) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values ([A, K, H / K, M, E], then [A, K, 1, P + M, E] twice) from the output's."""
    heads = q.shape[2]
    grad_q = torch.empty_like(q)
    # Several blocks add up in float32.
    several = q.shape[3] > BLOCK
    grad_k, grad_v = (torch.zeros_like(x, dtype=torch.float32 if several else x.dtype) for x in (k, v))
    for here, seen in _spans(q.shape[3], k.shape[3], form.window):
        queries, keys, values, out = q[..., here, :], k[:, :, 0, seen], v[:, :, 0, seen], _fold(grad[..., here, :])
        weights, slope = _weights(queries, k[..., seen, :], _part(hidden, seen), form)
        grad_v[:, :, 0, seen] += _fold(weights.to(v.dtype)).mT @ out
        scores = _unfold((out @ values.mT).float(), heads)
        scores = torch.ops.aten._softmax_backward_data(scores, weights, -1, torch.float32)
        scores = _fold((scores if slope is None else scores.mul_(slope)).mul_(form.scaling).to(q.dtype))
        grad_q[..., here, :] = _unfold(scores @ keys, heads)
        grad_k[:, :, 0, seen] += scores.mT @ _fold(queries)
    return grad_q, grad_k.to(k.dtype), grad_v.to(v.dtype)


def _weights(q: Tensor, k: Tensor, hidden: Tensor | None, form: _Form) -> tuple[Tensor, Tensor | None]:
    """[A, K, H / K, n, t] float32 weights of the last n of t tokens on those t, and the slope of the cap, if there is one."""
    count, past = q.shape[3], k.shape[3] - q.shape[3]
    scores = _unfold((_fold(q) @ k[:, :, 0].mT).float(), q.shape[2]).mul_(form.scaling)
    slope = None
    if form.softcap is not None:
        scores = scores.div_(form.softcap).tanh_()
        slope = 1 - scores**2
        scores = scores.mul_(form.softcap)
    scores[..., past:] += _future(count, q.device)
    if hidden is not None:
        scores[..., : hidden.shape[-1]] += hidden
    if form.window is not None:
        scores[..., :count] += _beyond(count, past - form.window, q.device)
    return scores.softmax(-1), slope


def _spans(queries: int, keys: int, window: int | None) -> Iterator[tuple[slice, slice]]:
    """Blocks of queries, which are the last of the keys, and the keys that any of them sees."""
    for start in range(0, queries, BLOCK):
        stop, past = min(start + BLOCK, queries), keys - queries
        yield slice(start, stop), slice(0 if window is None else max(0, past + start - window + 1), past + stop)


def _part(hidden: Tensor | None, seen: slice) -> Tensor | None:
    return None if hidden is None else hidden[..., seen]


def _rows(x: Tensor, group: Group, places: Tensor, heads: int) -> Tensor:
    """[N, K * heads, E] to the group's [A, K, heads, n, E] of n places each."""
    return x.index_select(0, places).view(group.shape[0], -1, x.shape[1] // heads, heads, x.shape[2]).permute(0, 2, 3, 1, 4)


def _flat(x: Tensor) -> Tensor:
    """[A, K, heads, n, E] to [A * n, K * heads, E]."""
    return x.permute(0, 3, 1, 2, 4).flatten(2, 3).flatten(0, 1)


def _fold(x: Tensor) -> Tensor:
    """[A, K, heads, n, t] to [A, K, heads * n, t]: heads that share a key become rows of one product."""
    return x.flatten(2, 3)


def _unfold(x: Tensor, heads: int) -> Tensor:
    return x.unflatten(2, (heads, -1))


@lru_cache(maxsize=1024)
def _future(count: int, device: torch.device) -> Tensor:
    """[n, n] minus infinity where the column's token comes after the row's."""
    return torch.full((count, count), -torch.inf, device=device).triu_(1)


@lru_cache(maxsize=1024)
def _beyond(count: int, diagonal: int, device: torch.device) -> Tensor:
    """[n, n] minus infinity from the diagonal down, where the column's token has left the row's window."""
    return torch.full((count, count), -torch.inf, device=device).tril_(diagonal)
