"""Reference actors: copies, and ranks of one model that is partitioned over them."""

import numpy as np
import pytest
from helpers import random_groups

from actors.group import spawn
from actors.process import idle_env
from actors.reference import ReferenceActor, ReferenceGroup, ReferenceRank, References
from tower_rl.batching import assemble
from tower_rl.models.load import load_model
from tower_rl.models.packed import PackedPolicy, score

pytestmark = pytest.mark.ray


@pytest.fixture
def actors(cluster, tiny_model, logs):
    """Two of either kind."""
    env = idle_env(1) | {"DS_ACCELERATOR": "cpu"}
    arguments = (str(tiny_model), "float32", 7, 1)
    copies, group = [], []
    for i in range(2):
        log = logs / f"copy-{i}.log"
        copies.append(spawn(ReferenceActor, f"copy-{i}", log, {}, env, *arguments, str(log)))
        log = logs / f"shard-{i}.log"
        group.append(spawn(ReferenceRank, f"shard-{i}", log, {}, env, *arguments, str(log), i, 2))
    return References(copies, 120), ReferenceGroup(group, 120)


async def test_copies_and_a_group_say_what_the_model_says(actors, tiny_model):
    """Of as many batches as the learner has ranks, which are not as many as there are references."""
    batches = assemble(*random_groups(0, (3, 2, 4)), ranks=3, budget=60, temperature=0.7)
    assert sum(len(batch.micro_batches) for batch in batches) % 2 == 1
    policy = PackedPolicy(load_model(tiny_model, "float32"), 7)
    for references in actors:
        assert references.workers == 2
        await references.ready()
        found = await references.annotate(batches)
        await references.shutdown()
        for batch, answer in zip(batches, found, strict=True):
            for given, micro_batch in zip(batch.micro_batches, answer.micro_batches, strict=True):
                np.testing.assert_allclose(micro_batch.reference_logprobs, score(policy, given, 0.7), atol=1e-5)
                np.testing.assert_array_equal(micro_batch.token_ids, given.token_ids)
