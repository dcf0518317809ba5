"""Micro-batches dealt out to ranks that run in step, and what they answer brought back."""

import numpy as np
import pytest
from helpers import random_groups

from tower_rl.batching import assemble
from tower_rl.dealing import collect, deal


@pytest.mark.parametrize("ranks", [1, 2, 3, 8])
@pytest.mark.parametrize("given", [1, 2, 3])
def test_every_micro_batch_is_answered_once_and_comes_back_to_its_place(given, ranks):
    batches = assemble(*random_groups(0, (3, 2, 4, 1, 5)), ranks=given, budget=60, temperature=0.7)
    dealt = deal(batches, ranks)
    assert {(len(batch.micro_batches), batch.temperature) for batch in dealt} == {(len(dealt[0].micro_batches), 0.7)}
    count = sum(len(batch.micro_batches) for batch in batches)
    assert len(dealt[0].micro_batches) == -(-count // ranks), "no more turns than needed"
    answers = [[np.array(m.token_ids.sum()) for m in batch.micro_batches] for batch in dealt]
    assert collect(batches, answers) == [[m.token_ids.sum() for m in batch.micro_batches] for batch in batches]


def test_ranks_compute_neighbours_at_the_same_time():
    (batch,) = assemble(*random_groups(1, (3, 2, 4, 1, 5, 6)), ranks=1, budget=40, temperature=1.0)
    first, second = (batch_.micro_batches for batch_ in deal([batch], 2))
    turns = [micro_batch for turn in zip(first, second, strict=True) for micro_batch in turn]
    assert all(a is b for a, b in zip(turns, batch.micro_batches, strict=False))
