"""A whole asynchronous run on the tiny model: killed half-way, resumed, finished, read."""

import pytest
from resumed import assert_each_prompt_once, killed_and_resumed

from tower_rl.reporting.metrics import read
from tower_rl.reporting.rollouts import read_rollouts

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CONFIG = """
run: {{name: tiny, dir: {folder}}}
model: {{path: {model}, dtype: float32}}
data:
  max_prompt_tokens: 200
  sources:
    catalogue: {{kind: catalogue, languages: [de, fr], verifier: translation}}
rollout: {{group_size: 2, prompts_per_step: 4, max_new_tokens: 256, temperature: 0.7, memory_gib: 1.0}}
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
    _, left = killed_and_resumed(config, stage)
    return stage, left


def test_nothing_outlives_a_killed_driver_or_a_finished_run(run):
    assert run[1] == []


def test_no_prompt_is_lost_or_repeated(run):
    assert_each_prompt_once(run[0], steps=6, prompts=4)


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
