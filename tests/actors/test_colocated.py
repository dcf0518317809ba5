"""Engines that sleep while the trainer works, by vLLM's own state machine; on a CPU its workers keep their memory."""

import asyncio
import re

import numpy as np
import pytest
from spine import end_spine, start_spine

from actors.rollout import ColocatedEngines
from actors.weights import probe_batch
from tower_rl.config.schema import Policy
from tower_rl.config.stages import RlvrStage

pytestmark = pytest.mark.ray

TOLD = re.compile(r"seconds to (fall asleep|wake up tags .*)\.")


@pytest.fixture(scope="module")
def colocated(cluster, tiny_model, logs):
    stage = RlvrStage(name="test", kind="rlvr", steps=10, kl_coefficient=0.1)
    made = start_spine(
        "colocated", tiny_model, logs, Policy(learning_rate=1e-2, zero_stage=0), stage, [*range(20, 60)], ColocatedEngines
    )
    yield made
    end_spine(made)


async def sampled(engines, prompts):
    return [group async for group in engines.generate(prompts, 2)]


async def test_who_sleeps_answers_with_the_weights_that_wake_it(colocated, prompts, logs):
    before = await sampled(colocated.engines, prompts[:2])
    assert all((r.policy_versions == 0).all() for group in before for r in group.rollouts)
    await colocated.engines.rest()
    early = asyncio.create_task(sampled(colocated.engines, prompts[2:3]))
    await asyncio.sleep(2)
    assert not early.done(), "it sleeps"
    await colocated.sync.push(5)
    (group,) = await early
    assert group.prompt.id == prompts[2].id
    assert all((r.policy_versions[-1] == 5).all() for r in group.rollouts)
    trainer = (await colocated.ranks.probe(probe_batch(colocated.sync.probe)))[0]
    assert np.abs((await colocated.engines.probe(colocated.sync.probe))[0] - trainer).max() < 1e-3

    told = TOLD.findall((logs / "rollout-colocated.log").read_text())
    assert told == ["fall asleep", "wake up tags ['weights']", "wake up tags ['kv_cache']"]


async def test_each_push_wakes_and_engines_that_are_awake_stay_so(colocated, prompts, logs):
    for version in (6, 7):
        await colocated.engines.rest()
        await colocated.sync.push(version)
        (group,) = await sampled(colocated.engines, prompts[:1])
        assert all((r.policy_versions == version).all() for r in group.rollouts)
    await colocated.sync.push(8)
    (group,) = await sampled(colocated.engines, prompts[:1])
    assert all((r.policy_versions == 8).all() for r in group.rollouts)
    assert "Executor is not sleeping" not in (logs / "rollout-colocated.log").read_text()
