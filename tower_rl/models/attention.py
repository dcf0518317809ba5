"""Attention that keeps packed documents apart, registered with transformers under the name ATTENTION.

A model whose attention it is takes `documents=` in its forward call. No mask of the whole pack is ever made: on CUDA the
boundaries go to flash attention, elsewhere documents of like length are computed together, block by block.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.attention.varlen import varlen_attn
from transformers import AttentionInterface

from tower_rl.types import Ints

ATTENTION = "documents"

BLOCK = 128  # queries at once: small, since the half of the last square block is computed in vain
WASTE = 1.1  # a document joins longer ones if these stay below this many times their own tokens


@dataclass(frozen=True, slots=True)
class Group:
    """A documents, padded at the end to the M tokens of the longest."""

    shape: tuple[int, int]
    """A, M"""
    tokens: Tensor
    """[A * M] place in the pack of each token; padding repeats the document's last."""
    padding: Tensor
    """Those of the A * M that are padding."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Where the documents of a pack of N tokens lie."""

    offsets: Tensor
    """[D + 1] int32 first token of each document, and N."""
    longest: int
    """Tokens of the longest document."""
    groups: tuple[Group, ...]
    """All documents, grouped by length."""
    places: Tensor
    """[N] place of each token among those of the groups, one group after the other."""


def documents(offsets: Ints, device: torch.device) -> Documents:
    """What attention has to know of a pack, computed once for all layers.

    Args:
        offsets: [D + 1] first token of each document, and the number of tokens.
        device: where the model is.
    """
    lengths = np.diff(offsets)
    groups, places, start = [], np.empty(offsets[-1], np.int64), 0
    for members in _alike(lengths):
        width = lengths[members[0]]
        columns = np.arange(width)
        real = columns < lengths[members, None]
        tokens = offsets[members, None] + np.minimum(columns, lengths[members, None] - 1)
        places[tokens[real]] = start + np.flatnonzero(real)
        groups.append(
            Group(tokens.shape, torch.tensor(tokens.ravel(), device=device), torch.tensor(np.flatnonzero(~real), device=device))
        )
        start += tokens.size
    return Documents(
        torch.tensor(offsets, dtype=torch.int32, device=device),
        int(lengths.max()),
        tuple(groups),
        torch.tensor(places, device=device),
    )


def _alike(lengths: Ints) -> list[list[int]]:
    """Documents from the longest to the shortest, cut where padding to the first of a group would waste too much."""
    groups: list[list[int]] = []
    total = 0
    for i in np.argsort(-lengths, kind="stable").tolist():
        total += lengths[i]
        if not groups or lengths[groups[-1][0]] * (len(groups[-1]) + 1) > WASTE * total:
            groups.append([])
            total = lengths[i]
        groups[-1].append(i)
    return groups


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
    """Causal attention inside each document, in the form that transformers asks for.

    Args:
        module: the attention layer.
        query: [1, H, N, E].
        key: [1, K, N, E] of K heads, each shared by H / K query heads.
        value: [1, K, N, E].
        attention_mask: None, since transformers makes none for a name that is not in its registry of masks.
        documents: of the pack.
        scaling: factor of the scores.
        dropout: of the weights; not supported.
        sliding_window: tokens that a token sees, itself included; None for all before it.
        softcap: scores s become softcap * tanh(s / softcap) (Gemma 2, arXiv:2408.00118, section 2).

    Returns:
        [1, N, H, E], and no weights.

    Raises:
        ValueError: for dropout, for a mask, and for more than one row.
    """
    if dropout or attention_mask is not None or len(query) != 1:
        raise ValueError("attention over packed documents takes one row, no mask and no dropout")
    q, k, v = (x[0].transpose(0, 1) for x in (query, key, value))
    window = sliding_window if sliding_window is not None and sliding_window < documents.longest else None
    if q.is_cuda and q.dtype != torch.float32 and softcap is None:  # what flash attention knows
        return _flash(q, k, v, documents, scaling, window)[None], None
    out: Tensor = _Blocks.apply(q, k, v, documents, _Form(scaling, window, softcap))
    return out[None], None


AttentionInterface.register(ATTENTION, attend)


def _flash(q: Tensor, k: Tensor, v: Tensor, documents: Documents, scaling: float, window: int | None) -> Tensor:
    longest, before = documents.longest, -1 if window is None else window - 1
    out = varlen_attn(
        q, k, v, documents.offsets, documents.offsets, longest, longest, scale=scaling, window_size=(before, 0), enable_gqa=True
    )
    assert isinstance(out, Tensor)
    return out


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
            queries, keys, values = _rows(q, group, heads), _rows(k, group, 1), _rows(v, group, 1)
            out = torch.empty_like(queries)
            for here, seen in _spans(group.shape[1], form.window):
                weights, _ = _weights(queries[..., here, :], keys[..., seen, :], form)
                out[..., here, :] = _unfold(_fold(weights.to(v.dtype)) @ values[:, :, 0, seen], heads)
            parts.append(out.permute(0, 3, 1, 2, 4).reshape(-1, *q.shape[1:]))
        ctx.save_for_backward(q, k, v)
        ctx.documents, ctx.form = documents, form
        return torch.cat(parts).index_select(0, documents.places)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        q, k, v = ctx.saved_tensors
        heads = q.shape[1] // k.shape[1]
        parts = []
        for group in ctx.documents.groups:
            grad = grads[0].index_select(0, group.tokens).index_fill_(0, group.padding, 0.0)
            grad = grad.view(*group.shape, -1, heads, q.shape[2]).permute(0, 2, 3, 1, 4)
            found = _group_gradients(_rows(q, group, heads), _rows(k, group, 1), _rows(v, group, 1), grad, ctx.form)
            parts.append([x.permute(0, 3, 1, 2, 4).reshape(-1, *y.shape[1:]) for x, y in zip(found, (q, k, v), strict=True)])
        whole = [torch.cat(part).index_select(0, ctx.documents.places) for part in zip(*parts, strict=True)]
        return *whole, None, None


def _group_gradients(q: Tensor, k: Tensor, v: Tensor, grad: Tensor, form: _Form) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of queries, keys and values ([A, K, H / K, M, E], for keys and values [A, K, 1, M, E]) from the output's."""
    heads = q.shape[2]
    grad_q = torch.empty_like(q)
    # Several blocks add up in float32.
    several = q.shape[3] > BLOCK
    grad_k, grad_v = (torch.zeros_like(x, dtype=torch.float32 if several else x.dtype) for x in (k, v))
    for here, seen in _spans(q.shape[3], form.window):
        queries, keys, values, out = q[..., here, :], k[:, :, 0, seen], v[:, :, 0, seen], _fold(grad[..., here, :])
        weights, slope = _weights(queries, k[..., seen, :], form)
        grad_v[:, :, 0, seen] += _fold(weights.to(v.dtype)).mT @ out
        scores = _unfold((out @ values.mT).float(), heads)
        scores = torch.ops.aten._softmax_backward_data(scores, weights, -1, torch.float32)
        scores = _fold((scores if slope is None else scores.mul_(slope)).mul_(form.scaling).to(q.dtype))
        grad_q[..., here, :] = _unfold(scores @ keys, heads)
        grad_k[:, :, 0, seen] += scores.mT @ _fold(queries)
    return grad_q, grad_k.to(k.dtype), grad_v.to(v.dtype)


def _weights(q: Tensor, k: Tensor, form: _Form) -> tuple[Tensor, Tensor | None]:
    """[A, K, H / K, n, t] float32 weights of the last n of t tokens on those t, and the slope of the cap, if there is one."""
    count, past = q.shape[3], k.shape[3] - q.shape[3]
    scores = _unfold((_fold(q) @ k[:, :, 0].mT).float(), q.shape[2]).mul_(form.scaling)
    slope = None
    if form.softcap is not None:
        scores = scores.div_(form.softcap).tanh_()
        slope = 1 - scores**2
        scores = scores.mul_(form.softcap)
    scores[..., past:] += _future(count, q.device)
    if form.window is not None:
        scores[..., :count] += _beyond(count, past - form.window, q.device)
    return scores.softmax(-1), slope


def _spans(length: int, window: int | None) -> Iterator[tuple[slice, slice]]:
    """Blocks of queries, and the keys that any of them sees."""
    for start in range(0, length, BLOCK):
        stop = min(start + BLOCK, length)
        yield slice(start, stop), slice(0 if window is None else max(0, start - window + 1), stop)


def _rows(x: Tensor, group: Group, heads: int) -> Tensor:
    """[N, K * heads, E] to the group's [A, K, heads, M, E]."""
    return x.index_select(0, group.tokens).view(*group.shape, -1, heads, x.shape[2]).permute(0, 2, 3, 1, 4)


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
