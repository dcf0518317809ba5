"""A whole asynchronous run on the tiny model, all of whose weights are trained: killed half-way, resumed, finished, read."""

import pytest
import torch
from resumed import assert_each_prompt_once, killed_and_resumed
from transformers import AutoModelForCausalLM

from tower_rl import checkpoint
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
policy: {{workers: 2, zero_stage: 2, tokens_per_micro_batch: 512, learning_rate: 0.001}}
verifiers: {{translation: {{use: translation_rules}}}}
stages:
  - {{name: rl, kind: rlvr, steps: 6, save_every: 2, kl_coefficient: 0.05, asynchronous: {{staleness: 1}},
     mismatch: {{mean: 1.0, outside: 0.9}}}}
"""


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """Folder of the stage, and what killed_and_resumed tells of the run."""
    base = tmp_path_factory.mktemp("e2e-asynchronous")
    config, stage = base / "tiny.yaml", base / "run" / "stages" / "0-rl"
    config.write_text(CONFIG.format(folder=base / "run", model=tiny_model))
    return stage, killed_and_resumed(config, stage)


def test_nothing_outlives_a_killed_driver_or_a_finished_run(run):
    assert run[1].left == []


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


def test_a_reference_of_its_own_is_asked(run):
    rows = read(run[0] / "metrics.jsonl")
    assert all({"kl", "entropy", "grad_norm", "clip_share", "time/reference"} <= row.keys() for row in rows)
    assert rows[-1]["kl"] > 0
    assert any("reference" in path.name for path in (run[0].parents[1] / "logs").iterdir())


def test_all_weights_were_trained(run, tiny_model):
    folder = checkpoint.latest(run[0]) / "hf"
    model, before = (AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32) for f in (folder, tiny_model))
    assert not torch.equal(model.model.embed_tokens.weight, before.model.embed_tokens.weight)
    assert torch.isfinite(model(torch.arange(5)[None]).logits).all()
