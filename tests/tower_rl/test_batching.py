"""Packing: nothing lost, nothing mixed, ranks in step."""

from itertools import pairwise

import numpy as np
import pytest
from helpers import prompt, random_groups, rollout
from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.batching import assemble, audible, counted, divide
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
            whole = [*group.prompt.token_ids, *expected.token_ids]
            places = micro_batch.predictors[at]
            assert micro_batch.token_ids[places].tolist() == whole[len(group.prompt.token_ids) - 1 : -1]
            assert micro_batch.position_ids[places].tolist() == [*range(len(group.prompt.token_ids) - 1, len(whole) - 1)]
    assert sorted(seen) == list(range(len(flat)))
    assert batches[0].global_tokens == sum(len(r.token_ids) for _, r, _ in flat)
    assert batches[0].global_rollouts == len(flat)


def test_a_token_sees_its_prompt_and_its_own_branch_only():
    group = Group(prompt([5, 6]), (rollout([7, 8], [-1, -1]), rollout([9], [-1])))
    other = Group(prompt([10], 1), (rollout([11], [-1]),))
    (batch,) = assemble([group, other], [np.ones(2, np.float32), np.ones(1, np.float32)], ranks=1, budget=99, temperature=1.0)
    (m,) = batch.micro_batches
    segments = [m.token_ids[a:b].tolist() for a, b in pairwise(m.offsets)]
    sees = {}
    for segment, prefix in zip(segments, m.prefixes, strict=True):
        before = segments[prefix] if prefix >= 0 else []
        sees |= {token: {*before, *segment[: i + 1]} for i, token in enumerate(segment)}
    assert sees == {5: {5}, 6: {5, 6}, 7: {5, 6, 7}, 8: {5, 6, 7, 8}, 9: {5, 6, 9}, 10: {10}, 11: {10, 11}}
    assert m.token_ids.tolist() == [5, 6, 7, 8, 9, 10, 11]
    assert m.position_ids.tolist() == [0, 1, 2, 3, 2, 0, 1]


def test_ranks_get_like_loads():
    groups, advantages = random_groups(3, [4] * 24)
    batches = assemble(groups, advantages, ranks=3, budget=160, temperature=1.0)
    loads = [sum(m.token_ids.size for m in b.micro_batches) for b in batches]
    assert max(loads) < 1.1 * min(loads)


@pytest.mark.parametrize(
    ("lengths", "ranks", "count"),
    [([1000] * 31 + [10], 1, 31), ([1000] * 7 + [10], 2, 8), ([200] * 8, 1, 2), ([600, 400] * 5, 1, 5)],
)
def test_no_more_micro_batches_than_needed(lengths, ranks, count):
    groups = [Group(prompt([1, 2], i), (rollout([3] * (n - 2), [-1] * (n - 2)),)) for i, n in enumerate(lengths)]
    batches = assemble(groups, [np.ones(1, np.float32)] * len(groups), ranks=ranks, budget=1024, temperature=1.0)
    assert sum(len(b.micro_batches) for b in batches) == count


def test_rollouts_without_advantage_stay_out_and_still_count():
    groups, advantages = random_groups(5, (3, 2, 2))
    advantages[0][1] = 0
    advantages[1][:] = 0
    advantages[2] = [np.zeros(len(groups[2].rollouts[0].token_ids)), np.eye(1, len(groups[2].rollouts[1].token_ids))[0]]
    (batch,) = assemble(*audible(groups, advantages), ranks=1, budget=200, temperature=1.0)
    found = [m.targets[m.rows == row].tolist() for m in batch.micro_batches for row in range(len(m.mask))]
    kept = [groups[0].rollouts[0], groups[0].rollouts[2], groups[2].rollouts[1]]
    assert sorted(found) == sorted(r.token_ids.tolist() for r in kept)
    whole = counted(batch, groups)
    assert whole.global_rollouts == 7 > batch.global_rollouts
    assert whole.global_tokens == sum(len(r.token_ids) for g in groups for r in g.rollouts) > batch.global_tokens


def test_nothing_is_an_empty_micro_batch_for_each_rank():
    batches = assemble([], [], ranks=3, budget=10, temperature=1.0)
    assert [len(b.micro_batches) for b in batches] == [1, 1, 1]
    assert not any(m.mask.any() for b in batches for m in b.micro_batches)


def test_a_rollout_beyond_the_budget_is_an_error():
    groups, advantages = random_groups(0, [1])
    with pytest.raises(ValueError, match="exceeds the"):
        assemble(groups, advantages, ranks=1, budget=3, temperature=1.0)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 4), st.integers(0, 10**6))
def test_each_epoch_trains_on_every_group_once(groups, mini_batches, epochs, step):
    members, order = divide(groups, mini_batches, epochs, (0, step))
    assert (members, order) == divide(groups, mini_batches, epochs, (0, step))
    assert sorted(i for own in members for i in own) == list(range(groups))
    assert len(members) == min(mini_batches, groups)
    assert max(map(len, members)) - min(map(len, members)) <= 1
    assert all(own == sorted(own) for own in members)
    assert [sorted(epoch) for epoch in np.split(np.array(order), epochs)] == [list(range(len(members)))] * epochs


def test_steps_and_seeds_deal_out_groups_differently():
    dealt = [divide(8, 2, 1, seed)[0] for seed in ((0, 0), (0, 1), (1, 0))]
    assert dealt[0] != dealt[1] != dealt[2] != dealt[0]
