"""Packs become micro-batches of supervised training. Pure numpy."""

from collections.abc import Sequence

import numpy as np

from tower_rl.data.packs import Pack
from tower_rl.types import LmMicroBatch


def micro_batches(packs: Sequence[Pack], budget: int) -> list[LmMicroBatch]:
    """The fewest micro-batches of at most `budget` tokens that first-fit decreasing finds; each token is in one.

    Raises ValueError for a pack that exceeds the budget.
    """
    bins: list[list[Pack]] = []
    room: list[int] = []
    for pack in sorted(packs, key=lambda pack: pack.tokens, reverse=True):
        if pack.tokens > budget:
            raise ValueError(f"a pack of {pack.tokens} tokens exceeds the {budget} of a micro-batch")
        place = next((i for i, left in enumerate(room) if pack.tokens <= left), len(bins))
        if place == len(bins):
            bins.append([])
            room.append(budget)
        bins[place].append(pack)
        room[place] -= pack.tokens
    return [joined(each) for each in bins]


def joined(packs: Sequence[Pack]) -> LmMicroBatch:
    """Packs as one row."""
    lengths = np.concatenate([pack.lengths for pack in packs])
    token_ids = np.concatenate([pack.token_ids for pack in packs])
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    targets = np.flatnonzero(np.concatenate([pack.trained for pack in packs]))
    streams = tuple(dict.fromkeys(pack.stream for pack in packs))
    stream_of_token = np.concatenate([np.full(pack.tokens, streams.index(pack.stream)) for pack in packs])
    return LmMicroBatch(
        token_ids=token_ids,
        position_ids=np.arange(len(token_ids)) - np.repeat(offsets[:-1], lengths),
        offsets=offsets,
        predictors=targets - 1,
        targets=token_ids[targets],
        streams=streams,
        stream_ids=stream_of_token[targets],
    )


def empty() -> LmMicroBatch:
    """One of weight zero, for a rank that has fewer than another: two tokens, of which none is learned."""
    none = np.zeros(0, np.int64)
    return LmMicroBatch(np.zeros(2, np.int64), np.arange(2), np.array([0, 2]), none, none, (), none)
