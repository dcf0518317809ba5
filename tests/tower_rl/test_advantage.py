"""Advantages against their formula; invalid verdicts leave no trace."""

import numpy as np
import pytest
from helpers import prompt, rollout

from tower_rl.advantage import estimate, trainable
from tower_rl.types import ScoredGroup
from verifiers.types import invalid, scored


def group(*scores):
    verdicts = tuple(invalid("broken") if s is None else scored(s) for s in scores)
    return ScoredGroup(prompt([1]), tuple(rollout([i + 3], [-1]) for i in range(len(scores))), verdicts)


@pytest.mark.parametrize("by_std", [True, False])
def test_grpo_is_the_centred_reward_over_the_groups_deviation(by_std):
    rewards = [np.array([0, 1, 0.5, 1], np.float32), np.array([0.2, 0.4], np.float32)]
    found = estimate("grpo", rewards, normalize_by_std=by_std)
    for values, r in zip(found, rewards, strict=True):
        expected = (r - r.mean()) / (r.std(ddof=1) + 1e-6 if by_std else 1)
        np.testing.assert_allclose(values, expected, rtol=1e-4, atol=1e-6)


def test_a_group_without_variance_teaches_nothing():
    (values,) = estimate("grpo", [np.array([0.5, 0.5, 0.5], np.float32)], normalize_by_std=True)
    np.testing.assert_allclose(values, 0, atol=1e-6)


def test_invalid_verdicts_are_neither_rewards_nor_statistics():
    groups, rewards = trainable([group(1.0, None, 0.0), group(None, 1.0), group(None, None)])
    assert [len(g.rollouts) for g in groups] == [2]
    np.testing.assert_array_equal(rewards[0], [1.0, 0.0])
    assert [r.token_ids[0] for r in groups[0].rollouts] == [3, 5]
