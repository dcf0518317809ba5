"""The demo's own configuration and model, for two steps."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from transformers import AutoModelForCausalLM

from tower_rl.reporting.metrics import read

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def test_the_demo_trains(tmp_path):
    overrides = [f"run.dir={tmp_path / 'run'}", "stages.0.steps=2", "evaluation.prompts=3", "evaluation.samples=2"]
    command = [sys.executable, "-m", "tower_rl.run", "configs/demo.yaml", *overrides]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1200)
    assert result.returncode == 0, result.stdout + result.stderr
    stage = tmp_path / "run" / "stages" / "0-rlvr"
    rows = read(stage / "metrics.jsonl")
    assert len(rows) == 2
    assert all(row["invalid_rate"] == 0 and 0 < row["reward/mean"] < 1 for row in rows)
    assert all(row["mismatch/mean"] < 0.1 and row["mismatch/probe"] < 0.3 for row in rows)
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-4), "the first policy is the reference"
    assert rows[1]["kl"] > 0
    model = AutoModelForCausalLM.from_pretrained(stage / "checkpoints" / "step-2" / "hf", dtype="auto")
    assert model.dtype == torch.bfloat16
