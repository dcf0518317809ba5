"""Scored groups become packed micro-batches, balanced over ranks. Pure numpy."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tower_rl.types import Batch, Floats, Group, Ints, MicroBatch, Rollout


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


def assemble(groups: Sequence[Group], advantages: Sequence[Floats], *, ranks: int, budget: int, temperature: float) -> list[Batch]:
    """One batch a rank, with the same number of micro-batches each.

    Args:
        groups: the rollouts to train on.
        advantages: for each group, [G] one advantage a rollout.
        ranks: data-parallel size.
        budget: most packed tokens of a micro-batch.
        temperature: of the sampling.

    Raises:
        ValueError: if one rollout with its prompt exceeds the budget.
    """
    pieces = _pieces(groups, advantages, budget)
    bins = _balance(pieces, ranks, budget)
    lengths = [len(r.token_ids) for g in groups for r in g.rollouts]
    micro_batches = [_pack(b) if b else _empty() for b in bins]
    return [
        Batch(tuple(micro_batches[rank::ranks]), global_tokens=sum(lengths), global_rollouts=len(lengths), temperature=temperature)
        for rank in range(ranks)
    ]


def _pieces(groups: Sequence[Group], advantages: Sequence[Floats], budget: int) -> list[Piece]:
    pieces: list[Piece] = []
    first_id = 0
    for group, advantage in zip(groups, advantages, strict=True):
        room, members = 0, []
        for i, rollout in enumerate(group.rollouts):
            need = len(rollout.token_ids)
            if len(group.prompt.token_ids) + need > budget:
                raise ValueError(f"a rollout of {len(group.prompt.token_ids) + need} tokens exceeds the budget of {budget}")
            if not members or room < need:
                members = []
                pieces.append(Piece(group.prompt.token_ids, (), (), ()))
                room = budget - len(group.prompt.token_ids)
            members.append(i)
            room -= need
            pieces[-1] = Piece(
                group.prompt.token_ids,
                tuple(group.rollouts[k] for k in members),
                tuple(float(advantage[k]) for k in members),
                tuple(first_id + k for k in members),
            )
        first_id += len(group.rollouts)
    return pieces


def _balance(pieces: Sequence[Piece], ranks: int, budget: int) -> list[list[Piece]]:
    """The fewest bins, a multiple of `ranks`, that hold the pieces; largest piece first, always into the emptiest bin.

    Bins come ordered by size, so that dealing them out in turn gives each rank bins of like size at the same time.
    """
    order = sorted(pieces, key=lambda p: p.tokens, reverse=True)
    count = ranks * max(1, -(-sum(p.tokens for p in pieces) // (budget * ranks)))
    while True:
        bins: list[list[Piece]] = [[] for _ in range(count)]
        sizes = [0] * count
        for piece in order:
            emptiest = sizes.index(min(sizes))
            bins[emptiest].append(piece)
            sizes[emptiest] += piece.tokens
        if max(sizes) <= budget:
            return [bins[i] for i in sorted(range(count), key=lambda i: -sizes[i])]
        count += ranks


def _pack(pieces: Sequence[Piece]) -> MicroBatch:
    columns: dict[str, list[Ints]] = {
        k: [] for k in ("token_ids", "position_ids", "documents", "branches", "predictors", "targets", "rows", "columns")
    }
    offset, row = 0, 0
    for document, piece in enumerate(pieces):
        prompt = len(piece.prompt_ids)
        _append(columns, piece.prompt_ids, np.arange(prompt), document, 0)
        branch_start = offset + prompt
        for branch, rollout in enumerate(piece.rollouts, start=1):
            length = len(rollout.token_ids)
            _append(columns, rollout.token_ids, prompt + np.arange(length), document, branch)
            before = branch_start + np.arange(length) - 1
            before[0] = offset + prompt - 1  # the prompt's last token predicts the first of each response
            columns["predictors"].append(before)
            columns["targets"].append(np.asarray(rollout.token_ids, np.int64))
            columns["rows"].append(np.full(length, row))
            columns["columns"].append(np.arange(length))
            branch_start += length
            row += 1
        offset = branch_start
    return _with_rollouts({k: np.concatenate(v).astype(np.int64) for k, v in columns.items()}, pieces)


def _append(columns: dict[str, list[Ints]], tokens: Sequence[int] | Ints, positions: Ints, document: int, branch: int) -> None:
    columns["token_ids"].append(np.asarray(tokens, np.int64))
    columns["position_ids"].append(positions)
    columns["documents"].append(np.full(len(positions), document))
    columns["branches"].append(np.full(len(positions), branch))


def _with_rollouts(packed: dict[str, Ints], pieces: Sequence[Piece]) -> MicroBatch:
    rollouts = [r for p in pieces for r in p.rollouts]
    shape = (len(rollouts), max(len(r.token_ids) for r in rollouts))
    mask, old, advantages = np.zeros(shape, np.bool_), np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    for i, (rollout, advantage) in enumerate(zip(rollouts, (a for p in pieces for a in p.advantages), strict=True)):
        length = len(rollout.token_ids)
        mask[i, :length] = True
        old[i, :length] = rollout.logprobs
        advantages[i, :length] = advantage
    ids = np.array([k for p in pieces for k in p.rollout_ids], np.int64)
    return MicroBatch(**packed, mask=mask, old_logprobs=old, advantages=advantages, rollout_ids=ids)


def _empty() -> MicroBatch:
    """A micro-batch of weight zero, so that all ranks run the same number of passes (ZeRO-2 and 3 hang otherwise)."""
    one = np.zeros(1, np.int64)
    nothing = np.zeros((1, 1), np.float32)
    return MicroBatch(
        token_ids=one, position_ids=one, documents=one, branches=one, predictors=one, targets=one, rows=one, columns=one,
        mask=np.zeros((1, 1), np.bool_), old_logprobs=nothing, advantages=nothing, rollout_ids=np.full(1, -1),
    )  # fmt: skip


def visible(documents: Ints, branches: Ints) -> np.ndarray:
    """[N, N] True where the row's token may attend to the column's: earlier, same document, shared prompt or own branch."""
    same = documents[:, None] == documents[None, :]
    reachable = (branches[None, :] == 0) | (branches[:, None] == branches[None, :])
    return np.tril(same & reachable)
