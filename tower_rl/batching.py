"""Scored groups become packed micro-batches, balanced over ranks. Pure numpy."""

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tower_rl.types import Batch, Bools, Floats, Group, Ints, MicroBatch, Rollout


@dataclass(frozen=True, slots=True)
class Piece:
    """Rollouts of one prompt that share its computation; a group is one piece unless it exceeds the token budget."""

    prompt_ids: tuple[int, ...]
    rollouts: tuple[Rollout, ...]
    advantages: tuple[float, ...]
    rollout_ids: tuple[int, ...]

    @property
    def tokens(self) -> int:
        """Packed length: the prompt once, and every response."""
        return len(self.prompt_ids) + sum(len(r.token_ids) for r in self.rollouts)


def assemble(
    groups: Sequence[Group], advantages: Sequence[Floats], *, ranks: int, budget: int, temperature: float
) -> list[Batch]:
    """One batch a rank, with the same number of micro-batches each.

    Args:
        groups: the rollouts to train on.
        advantages: for each group, [G] one advantage a rollout.
        ranks: data-parallel size.
        budget: most tokens of a micro-batch, padding included.
        temperature: of the sampling.

    Raises:
        ValueError: if one rollout with its prompt exceeds the budget.
    """
    pieces = _pieces(groups, advantages, budget)
    bins = _balance(pieces, ranks, budget)
    lengths = [len(r.token_ids) for g in groups for r in g.rollouts]
    micro_batches = [_pack(b) if b else _empty() for b in bins]
    return [
        Batch(
            tuple(micro_batches[rank::ranks]), global_tokens=sum(lengths), global_rollouts=len(lengths), temperature=temperature
        )
        for rank in range(ranks)
    ]


def _pieces(groups: Sequence[Group], advantages: Sequence[Floats], budget: int) -> list[Piece]:
    pieces: list[Piece] = []
    first_id = 0
    for group, advantage in zip(groups, advantages, strict=True):
        for part in _parts([len(r.token_ids) for r in group.rollouts], budget - len(group.prompt.token_ids)):
            rollouts = tuple(group.rollouts[k] for k in part)
            pieces.append(
                Piece(
                    group.prompt.token_ids, rollouts, tuple(float(advantage[k]) for k in part), tuple(first_id + k for k in part)
                )
            )
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
    """The fewest micro-batches, a multiple of `ranks`, whose padded rows fit into the budget, and as even as possible.

    Pieces of like length go together, since a row is padded to its micro-batch's longest. Micro-batches come ordered by
    size, so that dealing them out in turn gives each rank ones of like size at the same time.
    """
    order = sorted(pieces, key=lambda p: p.tokens, reverse=True)
    count = -(-len(_fill(order, budget)) // ranks) * ranks
    sizes = range(order[0].tokens, budget + 1)
    even = sizes[bisect_left(sizes, True, key=lambda size: len(_fill(order, size)) <= count)]
    bins = sorted(_fill(order, even), key=_area, reverse=True)
    return bins + [[]] * (count - len(bins))


def _fill(order: Sequence[Piece], size: int) -> list[list[Piece]]:
    """Consecutive runs, each as long as its padded area allows."""
    bins: list[list[Piece]] = []
    for piece in order:
        if not bins or _area([*bins[-1], piece]) > size:
            bins.append([])
        bins[-1].append(piece)
    return bins


def _area(pieces: Sequence[Piece]) -> int:
    return len(pieces) * max((p.tokens for p in pieces), default=0)


def _pack(pieces: Sequence[Piece]) -> MicroBatch:
    shape = (len(pieces), max(p.tokens for p in pieces))
    token_ids, position_ids, branches = np.zeros(shape, np.int64), np.zeros(shape, np.int64), np.full(shape, -1)
    scored: list[tuple[Ints, Ints, Ints, Ints]] = []  # predictors, targets, rows, columns of each rollout
    for row, piece in enumerate(pieces):
        prompt = start = len(piece.prompt_ids)
        token_ids[row, :prompt] = piece.prompt_ids
        position_ids[row, :prompt] = np.arange(prompt)
        branches[row, :prompt] = 0
        for branch, rollout in enumerate(piece.rollouts, start=1):
            length = len(rollout.token_ids)
            part = slice(start, start + length)
            token_ids[row, part] = rollout.token_ids
            position_ids[row, part] = prompt + np.arange(length)
            branches[row, part] = branch
            before = start - 1 + np.arange(length)
            before[0] = prompt - 1  # the prompt's last token predicts the first of each response
            scored.append((row * shape[1] + before, rollout.token_ids, np.full(length, len(scored)), np.arange(length)))
            start += length
    predictors, targets, rows, columns = (np.concatenate(x) for x in zip(*scored, strict=True))
    mask, old_logprobs, advantages = _padded(pieces)
    return MicroBatch(
        token_ids=token_ids,
        position_ids=position_ids,
        branches=branches,
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


def _empty() -> MicroBatch:
    """A micro-batch of weight zero, so that all ranks run the same number of passes (ZeRO-2 and 3 hang otherwise)."""
    one, row = np.zeros(1, np.int64), np.zeros((1, 1), np.int64)
    nothing = np.zeros((1, 1), np.float32)
    return MicroBatch(
        token_ids=row, position_ids=row, branches=row, predictors=one, targets=one, rows=one, columns=one,
        mask=np.zeros((1, 1), np.bool_), old_logprobs=nothing, advantages=nothing, rollout_ids=np.full(1, -1),
    )  # fmt: skip


def visible(branches: Ints) -> Bools:
    """[R, L, L] True where a token may attend to another of its row: earlier, and of the shared prompt or its own branch."""
    reachable = (branches[:, None, :] == 0) | (branches[:, :, None] == branches[:, None, :])
    return np.tril(reachable)
