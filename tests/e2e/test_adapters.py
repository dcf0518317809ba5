"""A whole preference run of given answers that trains adapters; test_run.py is one of reinforcement learning."""

import json

import pytest
from processes import start
from transformers import AutoModelForCausalLM

from tower_rl import checkpoint
from tower_rl.reporting.metrics import read

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CONFIG = """
run: {{name: adapted, dir: {base}/run}}
model: {{path: {model}, dtype: float32}}
policy: {{workers: 2, zero_stage: 3, tokens_per_micro_batch: 800, learning_rate: 0.02, lora: {{rank: 4}}}}
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


def assert_other_model(stage, model):
    """The export is a plain model with other weights of the same names."""
    after, before = (AutoModelForCausalLM.from_pretrained(f) for f in (checkpoint.latest(stage) / "hf", model))
    weights, others = after.state_dict(), before.state_dict()
    assert weights.keys() == others.keys()
    assert any(not weights[name].equal(others[name]) for name in weights)


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
    (tmp_path / "run.yaml").write_text(CONFIG.format(base=tmp_path, model=tiny_model))
    process = start(tmp_path / "run.yaml")
    output, _ = process.communicate(timeout=600)
    assert process.returncode == 0, output
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "finished"
    stage, logs = tmp_path / "run" / "stages" / "0-tuned", [path.name for path in (tmp_path / "run" / "logs").iterdir()]
    rows, validation = read(stage / "metrics.jsonl"), read(stage / "validation.jsonl")
    assert rows[0]["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert validation[-1]["reward_margin"] > 0.05, output
    assert not any(kind in name for name in logs for kind in ("reference", "rollout"))
    assert_other_model(stage, tiny_model)
