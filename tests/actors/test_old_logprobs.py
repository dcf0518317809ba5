"""Ranks as actors: the old log-probabilities of a step that is off policy."""

import numpy as np
import pytest
from helpers import random_groups

from tower_rl.batching import assemble


@pytest.mark.ray
async def test_ranks_score_batches_by_the_policy_as_it_is(spine):
    groups, advantages = random_groups(5, (3, 2))
    batches = assemble(groups, advantages, ranks=1, budget=60, temperature=0.7)
    (scored,) = await spine.ranks.score(batches)
    (again,) = await spine.ranks.score([scored])
    for sampled, first, second in zip(batches[0].micro_batches, scored.micro_batches, again.micro_batches, strict=True):
        np.testing.assert_array_equal(first.rollout_logprobs, sampled.old_logprobs)
        np.testing.assert_array_equal(second.rollout_logprobs, first.old_logprobs)
        np.testing.assert_array_equal(second.old_logprobs, first.old_logprobs)
        assert (
            np.abs(first.old_logprobs - sampled.old_logprobs)[sampled.mask].min() > 0
            and not first.old_logprobs[~sampled.mask].any()
        )
