"""How old tokens are: how many updates lie between the weights that sampled a token and those that train on it.

Read off the rollouts, which carry the version of every token (in AReaL, arXiv:2505.24298, a bound on it is called eta).
"""

from collections.abc import Sequence

import numpy as np

from tower_rl.protocols import StalenessExceeded
from tower_rl.types import Ints, ScoredGroup


def ages(scored: Sequence[ScoredGroup], version: int) -> Ints:
    """[tokens of all rollouts] how many versions each is behind `version`, that of the weights to be trained."""
    return np.concatenate([version - rollout.policy_versions for group in scored for rollout in group.rollouts])


def check_staleness(scored: Sequence[ScoredGroup], version: int, bound: int) -> None:
    """Raises StalenessExceeded when the oldest token is more than `bound` versions behind, or one is ahead of `version`."""
    behind = ages(scored, version)
    wrong = (behind > bound) | (behind < 0)
    if wrong.any():
        raise StalenessExceeded(
            f"{wrong.sum()} of {len(behind)} tokens are not from the weights that they may be from: the oldest are from version "
            f"{version - behind.max()}, the newest from {version - behind.min()}, where version {version} is trained and "
            f"stages.N.asynchronous.staleness is {bound}; nothing was trained on them"
        )


def staleness_figures(scored: Sequence[ScoredGroup], version: int) -> dict[str, float]:
    """Mean and largest age of the tokens, and the share of those that older weights sampled."""
    behind = ages(scored, version)
    count = max(1, len(behind))
    return {
        "staleness/mean": float(behind.sum()) / count,
        "staleness/max": float(behind.max(initial=0)),
        "staleness/older_share": float((behind > 0).sum()) / count,
    }
