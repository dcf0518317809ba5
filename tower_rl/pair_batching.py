"""Pairs become packed micro-batches, balanced over ranks: chosen and rejected share their prompt's computation. Pure numpy."""

import dataclasses
import random
from collections.abc import Iterator, Sequence

import numpy as np

from tower_rl.batching import assemble
from tower_rl.data.preference.reference import Sides
from tower_rl.data.preference.types import Candidate, Pair, as_rollout
from tower_rl.types import Batch, Floats, Group, MicroBatch, Prompt


def pair_batches(pairs: Sequence[Pair], *, ranks: int, budget: int, reference: Sequence[Sides] | None = None) -> list[Batch]:
    """One batch a rank; chosen and rejected of pair i are rollouts 2i and 2i + 1, neighbours in one micro-batch.

    Args:
        pairs: of the step; a prompt with both answers fits into the budget.
        ranks: data-parallel size.
        budget: most tokens of a micro-batch.
        reference: log-probabilities of the reference, for each pair.

    Raises:
        ValueError: if a prompt with its answers exceeds the budget, which would tear a pair apart.
    """
    batches = _batches([(pair.prompt, (pair.chosen, pair.rejected)) for pair in pairs], ranks, budget)
    if reference is None:
        return batches
    flat = [values for sides in reference for values in sides]
    return [
        dataclasses.replace(batch, micro_batches=tuple(_with_reference(m, flat) for m in batch.micro_batches))
        for batch in batches
    ]


def mismatched(pairs: Sequence[Pair], *, ranks: int, budget: int) -> list[Batch]:
    """The prompt of each pair with the chosen answer of the next: what kto takes its point of reference from."""
    others = [*pairs[1:], *pairs[:1]]
    return _batches([(pair.prompt, (other.chosen,)) for pair, other in zip(pairs, others, strict=True)], ranks, budget)


def by_pair(batches: Sequence[Batch], pairs: int) -> list[Sides]:
    """The log-probabilities of the reference that the batches of `pair_batches` were annotated with."""
    flat: dict[int, Floats] = {}
    for micro_batch in (m for batch in batches for m in batch.micro_batches):
        assert micro_batch.reference_logprobs is not None
        for place, mask, values in zip(micro_batch.rollout_ids, micro_batch.mask, micro_batch.reference_logprobs, strict=True):
            flat[int(place)] = values[mask]
    return [(flat[2 * i], flat[2 * i + 1]) for i in range(pairs)]


def order(pairs: int, per_step: int, steps: int, seed: str) -> Iterator[list[int]]:
    """The pairs of each step: all of them, shuffled anew in each epoch, one epoch after the other."""
    waiting: list[int] = []
    epoch = 0
    for _ in range(steps):
        while len(waiting) < per_step:
            epoch_order = list(range(pairs))
            random.Random(f"{seed}/epoch {epoch}").shuffle(epoch_order)
            waiting += epoch_order
            epoch += 1
        yield waiting[:per_step]
        del waiting[:per_step]


def _batches(answers: Sequence[tuple[Prompt, tuple[Candidate, ...]]], ranks: int, budget: int) -> list[Batch]:
    for prompt, candidates in answers:
        needed = len(prompt.token_ids) + sum(len(one.token_ids) for one in candidates)
        if needed > budget:
            raise ValueError(f"{prompt.id} with its answers has {needed} tokens, more than the {budget} of a micro-batch")
    groups = [Group(prompt, tuple(map(as_rollout, candidates))) for prompt, candidates in answers]
    advantages = [np.zeros(len(group.rollouts), np.float32) for group in groups]
    return assemble(groups, advantages, ranks=ranks, budget=budget, temperature=1.0)


def _with_reference(micro_batch: MicroBatch, flat: Sequence[Floats]) -> MicroBatch:
    values = np.zeros(micro_batch.mask.shape, np.float32)
    for row, place in enumerate(micro_batch.rollout_ids):
        if place >= 0:
            values[row, micro_batch.mask[row]] = flat[place]
    return dataclasses.replace(micro_batch, reference_logprobs=values)
