"""Batches that were made for some ranks, computed by others that must run in step."""

from collections.abc import Sequence
from dataclasses import replace

from tower_rl.batching import empty
from tower_rl.types import Batch, Floats


def deal(batches: Sequence[Batch], ranks: int) -> list[Batch]:
    """The micro-batches of all batches as one batch a rank, each with the same number of them.

    Dealt out in turn, so that neighbours, which are of like size, are computed at the same time; empty ones fill the last turn.
    """
    flat = [micro_batch for batch in batches for micro_batch in batch.micro_batches]
    flat += [empty()] * (-len(flat) % ranks)
    return [replace(batches[0], micro_batches=tuple(flat[rank::ranks])) for rank in range(ranks)]


def collect(batches: Sequence[Batch], dealt: Sequence[Sequence[Floats]]) -> list[list[Floats]]:
    """What each rank answered to each of its micro-batches after `deal`, by the batches and micro-batches that were dealt out."""
    answers = (answer for turn in zip(*dealt, strict=True) for answer in turn)
    return [[next(answers) for _ in batch.micro_batches] for batch in batches]
