"""Scored groups become packed micro-batches, balanced over ranks. Pure numpy."""

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from heapq import heapreplace

import numpy as np

from tower_rl.types import Advantages, Batch, Bools, Floats, Group, Ints, MicroBatch, Rollout


@dataclass(frozen=True, slots=True)
class Piece:
    """Rollouts of one prompt that share its computation; a group is one piece unless it exceeds the token budget."""

    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    advantages: tuple[Floats, ...]  # [] or [T]
    rollout_ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Packed length: the prompt once, and every response."""
        return len(self.prompt_ids) + sum(len(r.token_ids) for r in self.rollouts)


def assemble(
    groups: Sequence[Group], advantages: Sequence[Advantages], *, ranks: int, budget: int, temperature: float
) -> list[Batch]:
    """One batch a rank, with the same number of micro-batches each.

    Args:
        groups: the rollouts to train on.
        advantages: for each group, [G] one advantage a rollout, or for each rollout [T].
        ranks: data-parallel size.
        budget: most tokens of a micro-batch.
        temperature: of the sampling.

    Raises:
        ValueError: if one rollout with its prompt exceeds the budget.
    """
    pieces = _pieces(groups, advantages, budget)
    bins = _balance(pieces, ranks, budget)
    micro_batches = [_pack(b) if b else empty() for b in bins]
    return [counted(Batch(tuple(micro_batches[rank::ranks]), 0, 0, temperature), groups) for rank in range(ranks)]


def counted(batch: Batch, groups: Sequence[Group]) -> Batch:
    """The batch as a part of these groups: over their tokens and rollouts the means of the loss are taken."""
    lengths = [len(r.token_ids) for g in groups for r in g.rollouts]
    return replace(batch, global_tokens=sum(lengths), global_rollouts=len(lengths))


def audible(groups: Sequence[Group], advantages: Sequence[Advantages]) -> tuple[list[Group], list[Advantages]]:
    """The rollouts with an advantage other than 0, which alone have a gradient where `skips_silent` (tower_rl.config.methods)."""
    return select(groups, advantages, lambda _, advantage: bool(np.any(advantage)))


def select(
    groups: Sequence[Group], advantages: Sequence[Advantages], wanted: Callable[[Rollout, Floats], bool]
) -> tuple[list[Group], list[Advantages]]:
    """The wanted rollouts with their advantages; groups of which nothing remains leave."""
    kept: list[tuple[Group, Advantages]] = []
    for group, values in zip(groups, advantages, strict=True):
        some = [(r, v) for r, v in zip(group.rollouts, values, strict=True) if wanted(r, v)]
        if some:
            kept.append((Group(group.prompt, tuple(r for r, _ in some)), [v for _, v in some]))
    return [group for group, _ in kept], [values for _, values in kept]


def divide(groups: int, mini_batches: int, epochs: int, seed: Sequence[int]) -> tuple[list[list[int]], list[int]]:
    """Deals out the groups of a step to mini-batches, each of which makes one optimizer step an epoch.

    One mini-batch has all groups. Several have shuffled ones, as evenly many as possible and at least one, so that few groups
    make fewer mini-batches. Groups stay together over the epochs; every epoch shuffles the order of the mini-batches.

    Args:
        groups: how many there are.
        mini_batches: the wanted number.
        epochs: how often each group is trained on.
        seed: of the shuffling; the same for the same step.

    Returns:
        for each mini-batch its groups (0..groups-1, ascending), and the order in which mini-batches are trained on.
    """
    rng = np.random.default_rng(seed)
    count = min(mini_batches, groups)
    members = [sorted(part.tolist()) for part in np.array_split(rng.permutation(groups), count)]
    return members, [int(i) for _ in range(epochs) for i in rng.permutation(count)]


def rescored(batch: Batch, scores: Sequence[Floats]) -> Batch:
    """The batch with the trainer's log-probabilities, [B, T] a micro-batch, as old ones; those of the sampling move aside."""
    micro_batches = [
        replace(m, old_logprobs=values, rollout_logprobs=m.old_logprobs)
        for m, values in zip(batch.micro_batches, scores, strict=True)
    ]
    return replace(batch, micro_batches=tuple(micro_batches))


def _pieces(groups: Sequence[Group], advantages: Sequence[Advantages], budget: int) -> list[Piece]:
    pieces: list[Piece] = []
    first_id = 0
    for group, advantage in zip(groups, advantages, strict=True):
        for part in _parts([len(r.token_ids) for r in group.rollouts], budget - len(group.prompt.token_ids)):
            rollouts = tuple(group.rollouts[k] for k in part)
            values = tuple(np.asarray(advantage[k]) for k in part)
            pieces.append(Piece(group.prompt.token_ids, rollouts, values, tuple(first_id + k for k in part)))
        first_id += len(group.rollouts)
    return pieces


def _parts(lengths: Sequence[int], room: int) -> list[list[int]]:
    """Consecutive rollouts that fit into `room` tokens together."""
    parts: list[list[int]] = []
    left = -1
    for i, length in enumerate(lengths):
        if length > room:
            raise ValueError(f"a rollout of {length} tokens exceeds the {room} that the token budget leaves after its prompt")
        if length > left:
            parts.append([])
            left = room
        parts[-1].append(i)
        left -= length
    return parts


def _balance(pieces: Sequence[Piece], ranks: int, budget: int) -> list[list[Piece]]:
    """Micro-batches within the budget, as few as found and a multiple of `ranks`, as even as possible.

    They come ordered by size, so that dealing them out in turn gives each rank ones of like size at the same time. The number
    is looked for in growing strides, then in the last one by halves: pieces of more than half a budget need far more bins than
    their tokens do.
    """
    order = sorted(pieces, key=lambda p: p.tokens, reverse=True)

    def fits(each: int) -> bool:
        return _tokens(_spread(order, each * ranks)[0]) <= budget

    least = most = max(1, -(-_tokens(pieces) // (budget * ranks)))  # nothing is an empty micro-batch for each rank
    stride = 1
    while not fits(most):
        least, most, stride = most + 1, most + stride, 2 * stride
    return _spread(order, (least + bisect_left(range(least, most), True, key=fits)) * ranks)


def _spread(order: Sequence[Piece], count: int) -> list[list[Piece]]:
    """Each piece to the bin with the fewest tokens (longest processing time first: Graham, 1969); the fullest comes first."""
    bins: list[list[Piece]] = [[] for _ in range(count)]
    loads = [(0, i) for i in range(count)]
    for piece in order:
        load, i = loads[0]
        bins[i].append(piece)
        heapreplace(loads, (load + piece.tokens, i))
    return sorted(bins, key=_tokens, reverse=True)


def _tokens(pieces: Sequence[Piece]) -> int:
    return sum(p.tokens for p in pieces)


def _pack(pieces: Sequence[Piece]) -> MicroBatch:
    token_ids: list[Sequence[int] | Ints] = []
    position_ids: list[Ints] = []
    prefixes: list[int] = []
    scored: list[tuple[Ints, Ints, Ints, Ints]] = []  # predictors, targets, rows, columns of each rollout
    start = 0
    for piece in pieces:
        prompt, shared = len(piece.prompt_ids), len(prefixes)
        token_ids.append(piece.prompt_ids)
        position_ids.append(np.arange(prompt, dtype=np.int32))
        prefixes.append(-1)
        start += prompt
        last = start - 1  # the prompt's last token predicts the first of each response
        for rollout in piece.rollouts:
            places = np.arange(len(rollout.token_ids), dtype=np.int32)
            token_ids.append(rollout.token_ids)
            position_ids.append(prompt + places)
            prefixes.append(shared)
            before = np.where(places == 0, last, start - 1 + places)
            scored.append((before, rollout.token_ids, np.full_like(places, len(scored)), places))
            start += len(places)
    predictors, targets, rows, columns = (
        np.concatenate(x, dtype=np.int32, casting="same_kind") for x in zip(*scored, strict=True)
    )
    mask, old_logprobs, advantages = _padded(pieces)
    return MicroBatch(
        token_ids=np.concatenate(token_ids, dtype=np.int32, casting="same_kind"),
        position_ids=np.concatenate(position_ids),
        offsets=np.cumsum([0, *map(len, token_ids)]),
        prefixes=np.array(prefixes),
        predictors=predictors,
        targets=targets,
        rows=rows,
        columns=columns,
        mask=mask,
        old_logprobs=old_logprobs,
        advantages=advantages,
        rollout_ids=np.array([k for p in pieces for k in p.rollout_ids], np.int64),
    )


def _padded(pieces: Sequence[Piece]) -> tuple[Bools, Floats, Floats]:
    """[B, T] each: mask, old log-probabilities, advantages."""
    rollouts = [r for p in pieces for r in p.rollouts]
    shape = (len(rollouts), max(len(r.token_ids) for r in rollouts))
    mask, old, advantages = np.zeros(shape, np.bool_), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for i, (rollout, advantage) in enumerate(zip(rollouts, (a for p in pieces for a in p.advantages), strict=True)):
        length = len(rollout.token_ids)
        mask[i, :length] = True
        old[i, :length] = rollout.logprobs
        advantages[i, :length] = advantage
    return mask, old, advantages


def empty() -> MicroBatch:
    """A micro-batch of weight zero, so that all ranks run the same number of passes (ZeRO-2 and 3 hang otherwise)."""
    zero, nothing = np.zeros(1, np.int64), np.zeros((1, 1), np.float32)
    return MicroBatch(
        token_ids=zero, position_ids=zero, offsets=np.arange(2), prefixes=np.full(1, -1),
        predictors=zero, targets=zero, rows=zero, columns=zero, mask=np.zeros((1, 1), np.bool_),
        old_logprobs=nothing, advantages=nothing, rollout_ids=np.full(1, -1),
    )  # fmt: skip
