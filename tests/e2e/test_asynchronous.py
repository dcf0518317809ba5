"""A whole asynchronous run on the tiny model: killed half-way, resumed, finished, read."""

import os
import signal

import pytest
from processes import family, start, survivors, wait_until

from tower_rl import checkpoint
from tower_rl.reporting.metrics import read
from tower_rl.reporting.rollouts import read_rollouts

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS, PROMPTS = 6, 4

CONFIG = """
run: {{name: tiny, dir: {folder}}}
model: {{path: {model}, dtype: float32}}
data:
  max_prompt_tokens: 200
  sources:
    catalogue: {{kind: catalogue, languages: [de, fr], verifier: translation}}
rollout: {{group_size: 4, prompts_per_step: 4, max_new_tokens: 96, temperature: 0.7, memory_gib: 1.0}}
policy: {{tokens_per_micro_batch: 512, learning_rate: 0.001}}
verifiers: {{translation: {{use: translation_rules}}}}
stages:
  - {{name: rl, kind: rlvr, steps: 6, save_every: 2, asynchronous: {{staleness: 1}}, mismatch: {{mean: 1.0, outside: 0.9}}}}
"""


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """Folder of the stage, and the processes of both attempts that outlived their driver."""
    base = tmp_path_factory.mktemp("e2e-asynchronous")
    config, stage = base / "tiny.yaml", base / "run" / "stages" / "0-rl"
    config.write_text(CONFIG.format(folder=base / "run", model=tiny_model))
    first = start(config)
    wait_until(lambda: checkpoint.latest(stage) is not None and len(read(stage / "metrics.jsonl")) >= 3, 400, first)
    relatives = family(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(60)
    left = survivors(relatives)
    second = start(config, "--resume")
    wait_until(lambda: any(row["attempt"] == 2 for row in read(stage / "metrics.jsonl")), 400, second)
    relatives = family(second.pid)
    output, _ = second.communicate(timeout=400)
    assert second.returncode == 0, output
    return stage, left + survivors(relatives)


def test_nothing_outlives_a_killed_driver_or_a_finished_run(run):
    assert run[1] == []


def test_no_prompt_is_lost_or_repeated(run):
    stage, _ = run
    rows = read(stage / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert {row["attempt"] for row in rows} == {1, 2}
    for step in range(STEPS):
        cursors = {r["cursor"] for r in read_rollouts(stage / "rollouts" / f"step-{step}.parquet")}
        assert cursors == set(range(PROMPTS * step, PROMPTS * (step + 1)))
    versions = [row["policy_version"] for row in read(stage / "metrics.jsonl", superseded=True)]
    assert versions == sorted(set(versions))


def test_steps_were_sampled_while_others_trained(run):
    stage, _ = run
    changed = 0
    for step, row in enumerate(read(stage / "metrics.jsonl")):
        trained = row["policy_version"] - 1
        rollouts = read_rollouts(stage / "rollouts" / f"step-{step}.parquet")
        assert all(trained - 1 <= r["policy_version_min"] <= r["policy_version_max"] <= trained for r in rollouts)
        changed += sum(r["policy_version_min"] < r["policy_version_max"] for r in rollouts)
        assert row["staleness/max"] == trained - min(r["policy_version_min"] for r in rollouts)
        assert row["mismatch/probe"] < 1e-2, "float32 on both sides, right after the weights changed under running requests"
        assert row["time/wait"] + row["time/train"] + row["time/sync"] <= row["time/step"]
    assert row["staleness/older_share"] > 0
    assert changed > 0, "weights changed within rollouts"
