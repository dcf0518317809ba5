"""Responses near the token limit: a penalty that grows with their length, and no loss on those that the limit cut.

Both are DAPO's (arXiv 2503.14476, section 3.4).
"""

from collections.abc import Sequence
from dataclasses import replace

from tower_rl.batching import select
from tower_rl.config.sampling import Overlong
from tower_rl.protocols import VerifierPool
from tower_rl.types import Advantages, Group, ScoredGroup, StopReason


def penalty(length: int, limit: int, overlong: Overlong) -> float:
    """What a response of `length` tokens, its stop token included, takes off its reward (eq. 13).

    Nothing up to `limit - soft_buffer` tokens, then linearly more, up to `overlong.penalty` at `limit`.
    """
    excess = length - (limit - overlong.soft_buffer)
    return overlong.penalty * excess / overlong.soft_buffer if excess > 0 else 0.0


class Penalising:
    """A VerifierPool whose scored groups carry the penalties for length."""

    def __init__(self, verifiers: VerifierPool, overlong: Overlong, limit: int) -> None:
        self._verifiers, self._overlong, self._limit = verifiers, overlong, limit

    async def verify(self, group: Group) -> ScoredGroup:
        """See VerifierPool."""
        scored = await self._verifiers.verify(group)
        return replace(scored, penalties=tuple(penalty(len(r.token_ids), self._limit, self._overlong) for r in scored.rollouts))


def penalising(verifiers: VerifierPool, overlong: Overlong | None, limit: int) -> VerifierPool:
    """The verifiers, with penalties where the configuration has some."""
    return Penalising(verifiers, overlong, limit) if overlong is not None and overlong.soft_buffer else verifiers


def uncut(groups: Sequence[Group], advantages: Sequence[Advantages]) -> tuple[list[Group], list[Advantages]]:
    """The rollouts that the token limit did not cut, with their advantages; groups of which nothing remains leave.

    It comes after the advantages: in DAPO and in TRL (`mask_truncated_completions`) only the loss of a cut response is masked,
    its reward counts in the mean and the deviation of its group.
    """
    return select(groups, advantages, lambda rollout, _: rollout.stop_reason is not StopReason.LENGTH)
