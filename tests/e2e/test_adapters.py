"""Whole runs that train adapters, whose reference is the policy without them."""

import json

import pytest
from processes import start
from transformers import AutoModelForCausalLM

from tower_rl import checkpoint
from tower_rl.reporting.metrics import read

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RUN = """
run: {{name: adapted, dir: {base}/run}}
model: {{path: {model}, dtype: float32}}
policy: {{workers: 2, zero_stage: 3, tokens_per_micro_batch: 800, learning_rate: 0.02, lora: {{rank: 4}}}}
"""
RLVR = """
data:
  max_prompt_tokens: 200
  sources: {{instructions: {{kind: constraints, rules: [lowercase], verifier: rules}}}}
rollout: {{engines: 2, colocated: true, group_size: 4, prompts_per_step: 4, max_new_tokens: 16, memory_gib: 1.0}}
verifiers: {{rules: {{use: constraints}}}}
evaluation: {{prompts: 2, samples: 1}}
stages: [{{name: tuned, kind: rlvr, steps: 3, kl_coefficient: 0.05}}]
"""
GIVEN = """
data:
  max_prompt_tokens: 200
  cache: {base}/cache
  sources: {{given: {{kind: answers, path: {base}/given.jsonl}}}}
evaluation: {{prompts: 0}}
stages:
  - {{name: tuned, kind: preference, steps: 6, steps_per_round: null, prompts_per_round: 40, pairs_per_step: 6, answers: given,
     weighting: {{alignment: sampled}},
     selection: {{rule: ranked, order: [post_edit, machine], max_tokens: 400, held_out: 0.2}}}}
"""


def finished(text, model, base):
    """The stage's folder, the output, and the names of the actors that the run had."""
    (base / "run.yaml").write_text((RUN + text).format(base=base, model=model))
    process = start(base / "run.yaml")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert json.loads((base / "run" / "manifest.json").read_text())["status"] == "finished"
    return base / "run" / "stages" / "0-tuned", output, {path.name for path in (base / "run" / "logs").iterdir()}


def assert_other_model(stage, model):
    """The export is a plain model with other weights of the same names."""
    after, before = (AutoModelForCausalLM.from_pretrained(f) for f in (checkpoint.latest(stage) / "hf", model))
    weights, others = after.state_dict(), before.state_dict()
    assert weights.keys() == others.keys()
    assert any(not weights[name].equal(others[name]) for name in weights)


def test_reinforcement_learning(tiny_model, tmp_path):
    """With two engines that sleep while the ranks train, and that are awake for the panel before and after."""
    stage, _, logs = finished(RLVR, tiny_model, tmp_path)
    rows = read(stage / "metrics.jsonl")
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6), "before the first step the adapters say nothing"
    assert rows[-1]["kl"] > 1e-5
    assert all(row["mismatch/probe"] < 1e-2 for row in rows), "the engines have the adapters' weights"
    assert not any("reference" in name for name in logs)
    for i in range(2):
        told = (tmp_path / "run" / "logs" / f"rollout-{i}.log").read_text()
        assert told.count("seconds to fall asleep") == told.count("seconds to wake up tags ['kv_cache']") == 3
    assert_other_model(stage, tiny_model)


def test_preference_of_given_answers(tiny_model, tmp_path):
    """Without engines, scores, or a second copy of the model."""
    lines = [
        {
            "id": f"{i}",
            "prompt": f"Translate {i} into German.",
            "answers": [{"text": f"{i} ist gut {i * i}", "origin": "post_edit"}, {"text": f"good is {i}", "origin": "machine"}],
        }
        for i in range(40)
    ]
    (tmp_path / "given.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    stage, output, logs = finished(GIVEN, tiny_model, tmp_path)
    rows, validation = read(stage / "metrics.jsonl"), read(stage / "validation.jsonl")
    assert rows[0]["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert validation[-1]["reward_margin"] > 0.05, output
    assert not any(kind in name for name in logs for kind in ("reference", "rollout"))
    assert_other_model(stage, tiny_model)
