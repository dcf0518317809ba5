"""Where the documents of a pack lie, and which of them are computed together by attention (tower_rl.models.attention)."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from tower_rl.types import Bools, Ints

WASTE = 1.1  # a document joins longer ones if queries and keys together stay below this many times their own


@dataclass(frozen=True, slots=True)
class Group:
    """A documents, padded at the end to the M tokens of the longest, and their prefixes, padded in front to P tokens."""

    shape: tuple[int, int]
    """A, M"""
    tokens: Tensor
    """[A * M] place in the pack of each token; padding repeats the document's last."""
    padding: Tensor
    """Those of the A * M that are padding."""
    seen: Tensor
    """[A * (P + M)] places of prefixes and documents; padding in front repeats the prefix's first token."""
    hidden: Tensor | None
    """[A, 1, 1, 1, P] minus infinity at the padding in front; None where there is none."""


@dataclass(frozen=True, slots=True)
class Documents:
    """Where the documents of a pack of N tokens lie."""

    offsets: Tensor
    """[D + 1] int32 first token of each document, and N."""
    longest: int
    """Tokens of the longest document."""
    seen: Tensor | None
    """[S] places of the prefix and the tokens of each document, one document after the other; None without prefixes."""
    seen_offsets: Tensor
    """[D + 1] int32 first of these of each document, and S; without prefixes the offsets."""
    reach: int
    """Tokens of the longest document with its prefix."""
    groups: tuple[Group, ...]
    """All documents, grouped by length."""
    places: Tensor
    """[N] place of each token among those of the groups, one group after the other."""
    prefixes: Tensor | None
    """Places of the groups' prefixes, one group after the other; None without prefixes."""


def documents(offsets: Ints, device: torch.device, prefixes: Ints | None = None) -> Documents:
    """What attention has to know of a pack, computed once for all layers.

    Args:
        offsets: [D + 1] first token of each document, and the number of tokens.
        device: where the model is.
        prefixes: [D] the document that each goes on from, or -1; None if none has a prefix.

    Raises:
        ValueError: if a prefix has a prefix.
    """
    lengths, itself = np.diff(offsets), np.arange(len(offsets) - 1)
    before = itself if prefixes is None else np.where(prefixes < 0, itself, prefixes)
    starts, past = offsets[before], np.where(before == itself, 0, lengths[before])
    if past[before[past > 0]].any():
        raise ValueError("the prefix of a document has a prefix")
    groups, shared, places, count = [], [], np.empty(offsets[-1], np.int64), 0
    for m in _alike(lengths, past):
        columns = np.arange(lengths[m].max())
        real = columns < lengths[m, None]
        tokens = offsets[m, None] + np.minimum(columns, lengths[m, None] - 1)
        places[tokens[real]] = count + np.flatnonzero(real)
        count += tokens.size
        columns = past[m, None] - np.arange(past[m].max(), 0, -1)
        shared.append(starts[m, None] + np.maximum(columns, 0))
        seen = np.concatenate([shared[-1], tokens], 1)
        groups.append(
            Group(
                tokens.shape,
                torch.tensor(tokens.ravel(), device=device),
                torch.tensor(np.flatnonzero(~real), device=device),
                torch.tensor(seen.ravel(), device=device),
                _hidden(columns < 0, device),
            )
        )
    spans = [np.arange(*span) for i in itself for span in ((starts[i], starts[i] + past[i]), offsets[i : i + 2])]
    return Documents(
        torch.tensor(offsets, dtype=torch.int32, device=device),
        int(lengths.max()),
        torch.tensor(np.concatenate(spans), device=device) if past.any() else None,
        torch.tensor(np.cumsum([0, *(lengths + past)]), dtype=torch.int32, device=device),
        int((lengths + past).max()),
        tuple(groups),
        torch.tensor(places, device=device),
        torch.tensor(np.concatenate([x.ravel() for x in shared]), device=device) if past.any() else None,
    )


def _alike(lengths: Ints, past: Ints) -> list[Ints]:
    """Documents by length of prefix and of their own, cut where padding to the longest of a group would waste too much."""
    groups: list[list[int]] = []
    total = widest = 0
    for i in np.lexsort((-lengths, -past)).tolist():
        size = past[i] + 2 * lengths[i]
        total, widest = total + size, max(widest, lengths[i])
        if not groups or (past[groups[-1][0]] + 2 * widest) * (len(groups[-1]) + 1) > WASTE * total:
            groups.append([])
            total, widest = size, lengths[i]
        groups[-1].append(i)
    return [np.array(group) for group in groups]


def _hidden(padding: Bools, device: torch.device) -> Tensor | None:
    if not padding.any():
        return None
    return torch.tensor(np.where(padding, -np.inf, 0.0)[:, None, None, None], dtype=torch.float32, device=device)
