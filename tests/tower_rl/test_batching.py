"""Packing: nothing lost, nothing mixed, ranks in step."""

import numpy as np
import pytest
from helpers import prompt, random_groups, rollout
from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.batching import assemble, visible
from tower_rl.types import Group


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.lists(st.integers(1, 9), min_size=1, max_size=6), st.integers(1, 4), st.integers(25, 120))
def test_every_rollout_is_there_once_and_ranks_are_in_step(seed, sizes, ranks, budget):
    groups, advantages = random_groups(seed, sizes)
    batches = assemble(groups, advantages, ranks=ranks, budget=budget, temperature=1.0)
    assert len({len(b.micro_batches) for b in batches}) == 1
    flat = [(g, r, a) for g, values in zip(groups, advantages, strict=True) for r, a in zip(g.rollouts, values, strict=True)]
    seen = []
    for micro_batch in (m for b in batches for m in b.micro_batches):
        assert micro_batch.token_ids.size <= budget
        for row, number in enumerate(micro_batch.rollout_ids):
            if number < 0:
                assert not micro_batch.mask.any()
                continue
            seen.append(number)
            group, expected, advantage = flat[number]
            at = micro_batch.rows == row
            np.testing.assert_array_equal(micro_batch.targets[at], expected.token_ids)
            np.testing.assert_array_equal(micro_batch.old_logprobs[row][micro_batch.mask[row]], expected.logprobs)
            assert set(micro_batch.advantages[row][micro_batch.mask[row]]) == {advantage}
            first = micro_batch.predictors[at][0]
            assert micro_batch.token_ids.flat[first] == group.prompt.token_ids[-1]
            assert micro_batch.position_ids.flat[first] == len(group.prompt.token_ids) - 1
    assert sorted(seen) == list(range(len(flat)))
    assert batches[0].global_tokens == sum(len(r.token_ids) for _, r, _ in flat)
    assert batches[0].global_rollouts == len(flat)


def test_a_token_sees_its_prompt_and_its_own_branch_only():
    group = Group(prompt([5, 6]), (rollout([7, 8], [-1, -1]), rollout([9], [-1])))
    other = Group(prompt([10], 1), (rollout([11], [-1]),))
    (batch,) = assemble([group, other], [np.ones(2, np.float32), np.ones(1, np.float32)], ranks=1, budget=99, temperature=1.0)
    (m,) = batch.micro_batches
    sees = [
        {int(q): {int(k) for k in tokens[row]} for q, row, branch in zip(tokens, mask, branches, strict=True) if branch >= 0}
        for tokens, branches, mask in zip(m.token_ids, m.branches, visible(m.branches), strict=True)
    ]
    assert sees == [{5: {5}, 6: {5, 6}, 7: {5, 6, 7}, 8: {5, 6, 7, 8}, 9: {5, 6, 9}}, {10: {10}, 11: {10, 11}}]
    assert m.position_ids.tolist() == [[0, 1, 2, 3, 2], [0, 1, 0, 0, 0]]


def test_ranks_get_like_loads():
    groups, advantages = random_groups(3, [4] * 24)
    batches = assemble(groups, advantages, ranks=3, budget=160, temperature=1.0)
    loads = [sum(m.token_ids.size for m in b.micro_batches) for b in batches]
    assert max(loads) < 1.25 * min(loads)


@pytest.mark.parametrize(
    ("lengths", "ranks", "count"), [([1000] * 31 + [10], 1, 32), ([1000] * 7 + [10], 2, 8), ([200] * 8, 1, 2)]
)
def test_no_more_micro_batches_than_needed(lengths, ranks, count):
    groups = [Group(prompt([1, 2], i), (rollout([3] * (n - 2), [-1] * (n - 2)),)) for i, n in enumerate(lengths)]
    batches = assemble(groups, [np.ones(1, np.float32)] * len(groups), ranks=ranks, budget=1024, temperature=1.0)
    assert sum(len(b.micro_batches) for b in batches) == count


def test_a_rollout_beyond_the_budget_is_an_error():
    groups, advantages = random_groups(0, [1])
    with pytest.raises(ValueError, match="exceeds the"):
        assemble(groups, advantages, ranks=1, budget=3, temperature=1.0)
