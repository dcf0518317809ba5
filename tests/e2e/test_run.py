"""A whole run on the tiny model: killed half-way, resumed, finished, read.

One run answers for what stands beside each other: adapters on two ranks, engines that sleep while those train, a composite with
a reward model, the verifiers of a plug-in. test_asynchronous.py is the run of a whole policy with a reference.
"""

import json
import os
import subprocess
import sys

import pytest
import torch
from resumed import assert_each_prompt_once, killed_and_resumed
from transformers import AutoModelForCausalLM, AutoTokenizer

from tower_rl import checkpoint
from tower_rl.reporting.metrics import read
from tower_rl.reporting.panel import read_panel
from tower_rl.reporting.rollouts import read_rollouts

pytestmark = [pytest.mark.ray, pytest.mark.slow]

STEPS = 6
CONFIG = """
run: {{name: tiny, dir: {folder}}}
model: {{path: {model}, dtype: float32}}
data:
  max_prompt_tokens: 200
  sources:
    catalogue: {{kind: catalogue, languages: [de, fr], verifier: translation}}
    instructions: {{kind: constraints, rules: [lowercase, max_words], verifier: both}}
    writing: {{kind: constraints, rules: [max_words], verifier: style}}
rollout:
  {{engines: 2, colocated: true, group_size: 4, prompts_per_step: 3, max_new_tokens: 16, temperature: 0.7, memory_gib: 1.0}}
policy: {{workers: 2, zero_stage: 3, tokens_per_micro_batch: 800, learning_rate: 0.02, lora: {{rank: 4}}}}
verifiers:
  translation: {{use: translation_rules}}
  rules: {{use: constraints}}
  liked: {{reward_model: {reward}, dtype: float32, max_tokens: 512}}
  both: {{weights: {{rules: 1.0}}, watched: [liked]}}
  plain: {{use: plain_language, options: {{most_words: 5}}, cache: true}}
  calm: {{use: no_exclamation}}
  style: {{gates: [calm], weights: {{plain: 1.0}}, watched: [rules]}}
evaluation: {{prompts: 4, samples: 2}}
stages: [{{name: rl, kind: rlvr, steps: {steps}, save_every: 2, keep_last: 2, kl_coefficient: 0.05}}]
"""


@pytest.fixture(scope="module")
def run(tiny_model, tiny_reward, plugin_python, tmp_path_factory):
    """Folder of the run, and what killed_and_resumed tells of it."""
    base = tmp_path_factory.mktemp("e2e")
    config, folder = base / "tiny.yaml", base / "run"
    config.write_text(CONFIG.format(folder=folder, model=tiny_model, reward=tiny_reward, steps=STEPS))
    return folder, killed_and_resumed(config, folder / "stages" / "0-rl", python=plugin_python)


def test_nothing_outlives_a_killed_driver_or_a_finished_run(run):
    assert run[1].left == []


def test_no_prompt_is_lost_or_repeated(run):
    assert_each_prompt_once(run[0] / "stages" / "0-rl", steps=STEPS, prompts=3)


def test_metrics_are_complete_and_sane(run):
    for row in read(run[0] / "stages" / "0-rl" / "metrics.jsonl"):
        assert 0 <= row["reward/mean"] <= 1
        assert {"reward/translation", "reward/both", "kl", "entropy", "grad_norm", "clip_share"} <= row.keys()
        assert row["invalid_rate"] == 0
        assert row["mismatch/mean"] < 1e-2, "float32 on both sides, at temperature 0.7"
        assert row["mismatch/probe"] < 1e-2, "the engines have the adapters' weights"
        assert row["grad_norm"] > 0


def test_the_reference_is_the_policy_without_adapters(run):
    rows = read(run[0] / "stages" / "0-rl" / "metrics.jsonl")
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6), "before the first step the adapters say nothing"
    assert rows[-1]["kl"] > 1e-5
    assert not any("reference" in path.name for path in (run[0] / "logs").iterdir())


def test_engines_sleep_while_the_ranks_train(run):
    """They are awake for the panels before and after."""
    folder, done = run
    steps = sum(row["attempt"] == 2 for row in read(folder / "stages" / "0-rl" / "metrics.jsonl"))
    for i in range(2):
        name = f"rollout-{i}.log"
        told = (folder / "logs" / name).read_bytes()[done.written[name] :].decode()
        assert told.count("seconds to fall asleep") == told.count("seconds to wake up tags ['kv_cache']") == steps


def test_a_reward_model_is_watched(run):
    rows = read_rollouts(run[0] / "stages" / "0-rl" / "rollouts" / "step-0.parquet")
    judged = [row["parts"] for row in rows if row["verifier"] == "both"]
    assert judged and all(0 < parts["liked"] < 1 for parts in judged)
    assert len({parts["liked"] for parts in judged}) > 1


def test_the_verifiers_of_a_plug_in_judge(run):
    for row in read(run[0] / "stages" / "0-rl" / "metrics.jsonl"):
        assert {f"verifier/style/part/{part}" for part in ("plain", "calm", "rules")} <= row.keys()
    assert (run[0] / "verdicts.sqlite").exists()


def test_the_run_folder_is_whole(run):
    folder, done = run
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["status"], manifest["attempt"]) == ("finished", 2)
    stage = folder / "stages" / "0-rl"
    assert [path.name for path in checkpoint.complete(stage)] == ["step-4", "step-6"]
    checkpoint.verify(checkpoint.latest(stage))
    report = (folder / "report.html").read_text()
    assert "finished" in report and "tiny" in report
    assert len(read_panel(stage / "panel-before.json")) == len(read_panel(stage / "panel-after.json")) == 4
    assert "Where everything lies" in done.output and "Held-out panel" in done.output
    assert "(EngineCore" not in done.output, "the engine logs into its file"
    assert (folder / "logs" / "rollout-0.log").stat().st_size > 0


def test_transformers_loads_the_checkpoint(run, tiny_model):
    """As a plain model, with other weights of the same names."""
    folder = checkpoint.latest(run[0] / "stages" / "0-rl") / "hf"
    model, before = (AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32) for f in (folder, tiny_model))
    weights, others = model.state_dict(), before.state_dict()
    assert weights.keys() == others.keys()
    assert any(not weights[name].equal(others[name]) for name in weights)
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder).encode("the sea")])
    assert torch.isfinite(model(ids).logits).all()


def test_vllm_loads_the_checkpoint(run):
    """In a process of its own, as a user would."""
    folder = checkpoint.latest(run[0] / "stages" / "0-rl") / "hf"
    program = (
        "from vllm import LLM, SamplingParams\n"
        f"llm = LLM({str(folder)!r}, dtype='float32', enforce_eager=True, max_model_len=128)\n"
        "print('TOKENS', len(llm.generate('the sea', SamplingParams(max_tokens=4, ignore_eos=True))[0].outputs[0].token_ids))\n"
    )
    env = os.environ | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0-1", "HF_HUB_OFFLINE": "1"}
    code = f"if __name__ == '__main__':\n    exec({program!r})\n"
    path = folder.parent / "load.py"
    path.write_text(code)
    result = subprocess.run([sys.executable, str(path)], env=env, capture_output=True, text=True, timeout=300)
    path.unlink()
    assert "TOKENS 4" in result.stdout, result.stderr[-2000:]
