"""Rewards become advantages, through verl's estimators."""

from collections.abc import Sequence

import numpy as np
import torch
from verl.trainer.ppo import core_algos

from tower_rl.types import Floats, Group, ScoredGroup


def trainable(groups: Sequence[ScoredGroup]) -> tuple[list[Group], list[Floats]]:
    """The rollouts that may be trained on, and their rewards.

    An invalid verdict says nothing about its response, so that rollout leaves the loss and the group's statistics. A group
    with fewer than two valid rollouts has no statistics and leaves as a whole.

    Returns:
        the groups without their invalid rollouts, and for each [G] rewards.
    """
    kept, rewards = [], []
    for group in groups:
        valid = [(r, v.score) for r, v in zip(group.rollouts, group.verdicts, strict=True) if v.score is not None]
        if len(valid) >= 2:
            kept.append(Group(group.prompt, tuple(r for r, _ in valid)))
            rewards.append(np.array([score for _, score in valid], np.float32))
    return kept, rewards


def estimate(name: str, rewards: Sequence[Floats], *, normalize_by_std: bool) -> list[Floats]:
    """Outcome advantages of each group.

    Args:
        name: verl's name of the estimator, e.g. `grpo` (arXiv 2402.03300, eq. 10 with outcome supervision).
        rewards: for each group, [G].
        normalize_by_std: divide by the group's standard deviation; without it the estimate is Dr. GRPO's (arXiv 2503.20783).

    Returns:
        for each group, [G].
    """
    if not rewards:
        return []
    flat = torch.from_numpy(np.concatenate(list(rewards)))[:, None]
    index = np.repeat(np.arange(len(rewards)), [len(r) for r in rewards])
    advantages, _ = core_algos.get_adv_estimator_fn(name)(
        token_level_rewards=flat, response_mask=torch.ones_like(flat), index=index, norm_adv_by_std_in_grpo=normalize_by_std
    )
    return np.split(advantages[:, 0].numpy(), np.cumsum([len(r) for r in rewards])[:-1])
