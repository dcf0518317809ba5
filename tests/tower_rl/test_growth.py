"""What the driver does with the rollouts of a step grows with them and no faster, in time and in memory."""

import math
import time
import tracemalloc

import numpy as np
import pytest
from helpers import prompt, rollout

from tower_rl import advantage
from tower_rl.batching import assemble
from tower_rl.config.stages import RlvrStage
from tower_rl.reporting.rollouts import write_rollouts
from tower_rl.stages.journal import Step, aligned, figures
from tower_rl.types import ScoredGroup, StepResult
from verifiers.types import scored

SAMPLES = 4
STAGE = RlvrStage(name="test", kind="rlvr", steps=1)


def made(groups, tokens):
    """Scored groups of random responses, each of `tokens` tokens."""
    rng = np.random.default_rng(0)
    verdicts = tuple(scored(float(k % 2)) for k in range(SAMPLES))
    return [
        ScoredGroup(
            prompt(range(4), i),
            tuple(rollout(rng.integers(3, 500, tokens), -rng.random(tokens)) for _ in range(SAMPLES)),
            verdicts,
        )
        for i in range(groups)
    ]


def estimated(scored_groups):
    groups, rewards = advantage.trainable(scored_groups)
    return groups, advantage.estimate(STAGE, groups, rewards)


def seconds(scored_groups, budget, folder):
    """Of the processor."""
    began = time.process_time()
    groups, advantages = estimated(scored_groups)
    write_rollouts(folder / "rollouts.parquet", 0, scored_groups, aligned(scored_groups, groups, advantages))
    assemble(groups, advantages, ranks=1, budget=budget, temperature=1.0)
    figures(Step(1, scored_groups, advantages, StepResult(0.0, 1.0, 0.0, 1, {}), {}, {}))
    return time.process_time() - began


@pytest.mark.parametrize("budget", [1000, 100], ids=["many rollouts a micro-batch", "one, since two exceed the budget"])
def test_seconds_grow_with_the_groups(budget, tmp_path):
    few, many = (made(count, tokens=60) for count in (64, 512))
    rounds = range(3)  # the machine is noisy: what slows one size slows the other of its round
    ratio = min(seconds(many, budget, tmp_path) / seconds(few, budget, tmp_path) for _ in rounds)
    assert math.log(ratio) / math.log(512 / 64) < 1.2


def test_batches_take_33_bytes_a_token_and_their_making_little_more():
    groups, advantages = estimated(made(32, tokens=2000))
    tracemalloc.start()
    batches = assemble(groups, advantages, ranks=2, budget=8100, temperature=1.0)
    held, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    tokens = 32 * SAMPLES * 2000
    assert sum(int(m.mask.sum()) for batch in batches for m in batch.micro_batches) == tokens
    assert held < 35 * tokens
    assert peak < 1.2 * held


def test_writing_rollouts_takes_the_memory_of_a_group(tmp_path):
    groups = made(32, tokens=2000)
    advantages = [[0.0] * SAMPLES] * len(groups)
    write_rollouts(tmp_path / "rollouts.parquet", 0, groups[:1], advantages[:1])  # what is imported and cached once
    tracemalloc.start()
    write_rollouts(tmp_path / "rollouts.parquet", 0, groups, advantages)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 16 * SAMPLES * 2000
