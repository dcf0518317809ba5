"""A whole preference run on the tiny model: killed in its second round, resumed, finished, read."""

import json

import pytest
import torch
from resumed import killed_and_resumed
from transformers import AutoModelForCausalLM

from tower_rl import checkpoint
from tower_rl.data.preference.show import main as show
from tower_rl.data.preference.table import read_pairs
from tower_rl.reporting.metrics import read

pytestmark = [pytest.mark.ray, pytest.mark.slow]

CONFIG = """
run: {{name: tiny, dir: {base}/run}}
model: {{path: {model}, dtype: float32}}
data:
  max_prompt_tokens: 200
  cache: {base}/cache
  sources: {{catalogue: {{kind: catalogue, languages: [de, fr], verifier: translation, max_words: 6}}}}
rollout: {{group_size: 8, prompts_per_step: 8, max_new_tokens: 64, memory_gib: 1.0}}
policy: {{workers: 2, zero_stage: 2, tokens_per_micro_batch: 800, learning_rate: 0.001}}
reference: {{workers: 2, zero_stage: 3}}
verifiers: {{translation: {{use: chrf}}}}
evaluation: {{prompts: 4, samples: 2}}
stages:
  - {{name: po, kind: preference, steps: 8, steps_per_round: 4, prompts_per_round: 24, pairs_per_step: 6, save_every: 3,
     keep_last: 3, answers: both, weighting: {{alignment: sampled}}, beta: 0.1, selection: {{max_tokens: 400, held_out: 0.2}}}}
"""


@pytest.fixture(scope="module")
def run(tiny_model, tmp_path_factory):
    """Folder of the stage, and what killed_and_resumed tells of the run."""
    base = tmp_path_factory.mktemp("e2e-preference")
    config = base / "tiny.yaml"
    config.write_text(CONFIG.format(base=base, model=tiny_model))
    stage = base / "run" / "stages" / "0-po"
    return stage, killed_and_resumed(config, stage, rows=5, seconds=600)


def test_nothing_outlives_a_killed_driver_or_a_finished_run(run):
    assert run[1].left == []


def test_steps_and_pairs_are_whole(run):
    stage, _ = run
    rows = read(stage / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(8))
    assert {row["attempt"] for row in rows} == {1, 2}
    assert rows[0]["reward_margin"] == pytest.approx(0, abs=1e-3), "policy and reference are the same before the first step"
    assert rows[-1]["reward_margin"] > 0
    assert all(0 < row["weight/mean"] <= 10 and row["pairs"] == 6 for row in rows)
    for number in range(2):
        pairs = list(read_pairs(stage / "pairs" / f"round-{number}" / "pairs.parquet"))
        origins = {answer.origin.partition("@")[0] for pair in pairs for answer in (pair.chosen, pair.rejected)}
        assert origins == {"human", "policy"}
        assert all(pair.score_gap > 0 for pair in pairs)
    assert [row["round"] for row in read(stage / "rounds.jsonl")] == [0, 1]
    assert [row["step"] for row in read(stage / "validation.jsonl")] == [0, 4, 8]


def test_the_run_says_what_it_did(run, capsys):
    stage, done = run
    assert "Where everything lies" in done.output and "pairs" in done.output
    report = (stage.parent.parent / "report.html").read_text()
    assert "accuracy" in report and "human" in report
    assert json.loads((stage.parent.parent / "manifest.json").read_text())["status"] == "finished"
    assert show([str(stage / "pairs" / "round-0" / "pairs.parquet"), "--rows", "1"]) == 0
    assert "chosen by human" in capsys.readouterr().out


def test_the_checkpoint_is_another_model(run, tiny_model):
    folder = checkpoint.latest(run[0]) / "hf"
    model, before = (AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32) for f in (folder, tiny_model))
    assert not torch.equal(model.model.embed_tokens.weight, before.model.embed_tokens.weight)
    assert torch.isfinite(model(torch.arange(5)[None]).logits).all()
