"""Pairs in micro-batches: sides next to each other, each value of the reference in its place, every pair once an epoch."""

import random
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preference_rows import prompt

from tower_rl.data.preference.types import Candidate, Pair
from tower_rl.pair_batching import by_pair, mismatched, order, pair_batches

SHAPES = st.lists(st.tuples(st.integers(1, 6), st.integers(1, 9), st.integers(1, 9)), min_size=1, max_size=9)


def pairs_of(shapes, seed=0):
    """Pairs with so many tokens of prompt, chosen and rejected."""
    rng = np.random.default_rng(seed)

    def tokens(count):
        return tuple(rng.integers(0, 99, count).tolist())

    def answer(count):
        return Candidate("", tokens(count), "policy@0", {}, None)

    return [
        Pair(replace(prompt(f"s/{i}"), token_ids=tokens(asked)), answer(chosen), answer(rejected))
        for i, (asked, chosen, rejected) in enumerate(shapes)
    ]


def rows_of(batches):
    """Place in the step, micro-batch and row, prompt and answer of every answer, read from the packed tokens."""
    found = []
    for number, m in enumerate(m for batch in batches for m in batch.micro_batches):
        segments = [m.token_ids[a:b].tolist() for a, b in pairwise(m.offsets)]
        for row, place in enumerate(m.rollout_ids.tolist()):
            if place < 0:
                assert not m.mask.any() and len(m.rollout_ids) == 1
                continue
            at = m.rows == row
            first = int(m.predictors[at][0])  # the last token of the prompt
            asked = int(np.searchsorted(m.offsets, first, side="right")) - 1
            assert m.prefixes[asked] == -1 and m.offsets[asked + 1] == first + 1
            found.append((place, number, row, segments[asked], m.targets[at].tolist()))
    return found


def annotated(batches):
    """What a reference would add, which knows nothing but tokens: here a number for prompt, token and position."""

    def one(m):
        values = np.zeros(m.mask.shape, np.float32)
        for row in range(len(m.rollout_ids)):
            at = m.rows == row
            asked = int(np.searchsorted(m.offsets, m.predictors[at][0], side="right")) - 1
            total = m.token_ids[m.offsets[asked] : m.offsets[asked + 1]].sum()
            values[row, m.columns[at]] = value(total, m.targets[at])
        return replace(m, reference_logprobs=np.where(m.mask, values, np.float32(7)))  # what is not masked does not matter

    return [replace(batch, micro_batches=tuple(map(one, batch.micro_batches))) for batch in batches]


def value(total, tokens):
    tokens = np.asarray(tokens)
    return (-(1000 * total + 10 * tokens) - np.arange(len(tokens)) / 16).astype(np.float32)


def expected(pair):
    total = sum(pair.prompt.token_ids)
    return value(total, pair.chosen.token_ids), value(total, pair.rejected.token_ids)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(1, 4), st.integers(24, 80))
def test_both_sides_stand_next_to_each_other_behind_one_prompt(shapes, ranks, budget):
    pairs = pairs_of(shapes)
    batches = pair_batches(pairs, ranks=ranks, budget=budget)
    assert len(batches) == ranks and len({len(batch.micro_batches) for batch in batches}) == 1
    assert {batch.global_rollouts for batch in batches} == {2 * len(pairs)} and {batch.temperature for batch in batches} == {1.0}
    rows = rows_of(batches)
    assert sorted(place for place, *_ in rows) == list(range(2 * len(pairs)))
    for better, worse in zip(rows[::2], rows[1::2], strict=True):
        number, side = divmod(better[0], 2)
        pair = pairs[number]
        assert (side, worse[0]) == (0, 2 * number + 1)
        assert better[1] == worse[1] and (better[2] % 2, worse[2]) == (0, better[2] + 1)
        assert better[3:] == ([*pair.prompt.token_ids], [*pair.chosen.token_ids])
        assert worse[3:] == ([*pair.prompt.token_ids], [*pair.rejected.token_ids])
    used = sum(m.token_ids.size for batch in batches for m in batch.micro_batches if m.mask.any())
    assert used == sum(map(sum, shapes))
    assert all(m.token_ids.size <= budget and m.reference_logprobs is None for batch in batches for m in batch.micro_batches)


@settings(max_examples=60, deadline=None)
@given(SHAPES, st.integers(1, 4), st.integers(1, 4), st.integers(24, 80))
def test_values_of_the_reference_come_back_and_go_where_they_belong(shapes, reference_ranks, ranks, budget):
    pairs = pairs_of(shapes)
    annotations = annotated(pair_batches(pairs, ranks=reference_ranks, budget=budget))
    sides = by_pair(annotations, len(pairs))
    assert by_pair(annotations[::-1], len(pairs))[0][0].tolist() == sides[0][0].tolist()
    for found, pair in zip(sides, pairs, strict=True):
        for values, wanted in zip(found, expected(pair), strict=True):
            np.testing.assert_array_equal(values, wanted)
    batches = pair_batches(pairs, ranks=ranks, budget=budget, reference=sides)
    for m, again in zip(
        (m for batch in batches for m in batch.micro_batches),
        (m for batch in annotated(batches) for m in batch.micro_batches),
        strict=True,
    ):
        np.testing.assert_array_equal(m.reference_logprobs[m.mask], again.reference_logprobs[m.mask])
        assert not m.reference_logprobs[~m.mask].any()


def test_a_rank_without_pairs_has_an_empty_micro_batch():
    sides = [(np.float32([-1, -2]), np.float32([-3]))]
    first, second = pair_batches(pairs_of([(2, 2, 1)]), ranks=2, budget=5, reference=sides)
    (full,), (empty,) = first.micro_batches, second.micro_batches
    assert full.rollout_ids.tolist() == [0, 1] and full.reference_logprobs.tolist() == [[-1, -2], [-3, 0]]
    assert empty.rollout_ids.tolist() == [-1] and not empty.mask.any() and empty.reference_logprobs.tolist() == [[0]]
    (found,) = by_pair([second, first], 1)
    assert [side.tolist() for side in found] == [[-1, -2], [-3]]


def test_a_pair_that_a_micro_batch_cannot_hold_is_not_torn_apart():
    with pytest.raises(ValueError, match=r"^s/1 with its answers has 12 tokens, more than the 11 of a micro-batch$"):
        pair_batches(pairs_of([(1, 1, 1), (2, 5, 5)]), ranks=1, budget=11)


@settings(max_examples=40, deadline=None)
@given(SHAPES, st.integers(1, 3))
def test_mismatched_answers_are_the_chosen_ones_of_the_next_pair(shapes, ranks):
    pairs = pairs_of(shapes)
    batches = mismatched(pairs, ranks=ranks, budget=30)
    assert {batch.global_rollouts for batch in batches} == {len(pairs)}
    rows = sorted(rows_of(batches))
    assert [place for place, *_ in rows] == list(range(len(pairs)))
    for place, _, _, asked, answer in rows:
        assert asked == [*pairs[place].prompt.token_ids]
        assert answer == [*pairs[(place + 1) % len(pairs)].chosen.token_ids]


@given(st.integers(1, 12), st.data(), st.integers(0, 12), st.integers(0, 9))
def test_every_pair_once_an_epoch(pairs, data, steps, seed):
    per_step = data.draw(st.integers(1, pairs))
    found = list(order(pairs, per_step, steps, str(seed)))
    assert [len(step) for step in found] == [per_step] * steps
    flat = [place for step in found for place in step]
    for begin in range(0, len(flat), pairs):
        epoch = flat[begin : begin + pairs]
        assert len(set(epoch)) == len(epoch) and set(epoch) <= set(range(pairs))
    assert list(order(pairs, per_step, steps, str(seed))) == found
    more = list(order(pairs, per_step, steps + 3, str(seed)))
    assert more[:steps] == found


def test_epochs_and_seeds_differ_and_leave_the_global_generator_alone():
    state = random.getstate()
    first, second = order(50, 50, 2, "1/0")
    (other,) = order(50, 50, 1, "1/1")
    assert len({tuple(range(50)), tuple(first), tuple(second), tuple(other)}) == 4
    assert random.getstate() == state
