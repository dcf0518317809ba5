"""Micro-batches of packs against a plain loop over their tokens."""

from collections import Counter

import numpy as np
import pytest
from helpers import random_pack
from hypothesis import given
from hypothesis import strategies as st

from tower_rl.lm_batching import empty, joined, micro_batches

STREAMS = ("a/de", "a/fr", "b/")
lengths = st.lists(st.integers(1, 9), min_size=1, max_size=5)
packs = st.builds(random_pack, st.integers(0, 2**32), lengths, st.sampled_from(STREAMS), st.sampled_from([0.0, 0.5, 1.0]))


def learned(packs):
    """(token before, learned token, its position, stream) of each learned token."""
    found = Counter()
    for pack in packs:
        start = 0
        for length in pack.lengths:
            for position in range(1, length):
                place = start + position
                if pack.trained[place]:
                    found[int(pack.token_ids[place - 1]), int(pack.token_ids[place]), position, pack.stream] += 1
            start += length
    return found


def asked_for(micro_batch):
    """The same of a micro-batch, by its own indices."""
    found = Counter()
    for place, target, stream in zip(micro_batch.predictors, micro_batch.targets, micro_batch.stream_ids, strict=True):
        position = int(micro_batch.position_ids[place]) + 1
        found[int(micro_batch.token_ids[place]), int(target), position, micro_batch.streams[stream]] += 1
    return found


def documents_of(token_ids, lengths):
    """Counter of documents, as tuples."""
    return Counter(tuple(ids.tolist()) for ids in np.split(token_ids, np.cumsum(lengths)[:-1]))


@given(st.lists(packs, max_size=8), st.integers(45, 120))
def test_every_token_is_in_one_micro_batch_and_learned_in_its_place(packs, budget):
    made = micro_batches(packs, budget)
    assert all(0 < len(m.token_ids) <= budget for m in made)
    whole = sum((documents_of(m.token_ids, np.diff(m.offsets)) for m in made), Counter())
    assert whole == sum((documents_of(p.token_ids, p.lengths) for p in packs), Counter())
    assert sum((asked_for(m) for m in made), Counter()) == learned(packs)
    for m in made:
        assert m.position_ids.tolist() == [i for length in np.diff(m.offsets) for i in range(length)]
        assert (m.offsets[0], m.offsets[-1]) == (0, len(m.token_ids))
        assert len(set(m.streams)) == len(m.streams)


@given(st.lists(packs, max_size=8), st.integers(45, 120))
def test_no_two_micro_batches_would_fit_into_one(packs, budget):
    sizes = [len(m.token_ids) for m in micro_batches(packs, budget)]
    assert all(a + b > budget for i, a in enumerate(sizes) for b in sizes[:i])


def test_first_fit_decreasing():
    made = micro_batches([random_pack(n, [n]) for n in (4, 7, 3, 5, 1)], budget=10)
    assert [np.diff(m.offsets).tolist() for m in made] == [[7, 3], [5, 4, 1]]


def test_a_pack_by_hand():
    pack = random_pack(0, [3, 1, 2])
    other = random_pack(1, [2], stream="b/fr")
    m = joined([pack, other])
    assert m.offsets.tolist() == [0, 3, 4, 6, 8]
    assert m.position_ids.tolist() == [0, 1, 2, 0, 0, 1, 0, 1]
    assert m.predictors.tolist() == [0, 1, 4, 6]
    assert m.targets.tolist() == [*pack.token_ids[[1, 2, 5]], other.token_ids[1]]
    assert m.streams == ("a/de", "b/fr")
    assert m.stream_ids.tolist() == [0, 0, 0, 1]


def test_a_pack_beyond_the_budget_is_refused():
    with pytest.raises(ValueError, match="a pack of 11 tokens exceeds the 10 of a micro-batch"):
        micro_batches([random_pack(0, [1]), random_pack(0, [5, 6])], budget=10)


def test_the_empty_one_has_tokens_and_learns_none():
    m = empty()
    assert (len(m.token_ids), m.offsets.tolist(), m.position_ids.tolist()) == (2, [0, 2], [0, 1])
    assert len(m.predictors) == len(m.targets) == len(m.stream_ids) == len(m.streams) == 0
