"""The import contracts of pyproject.toml hold, and each of them can fail."""

import importlib
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("tower_rl", "verifiers", "actors", "clusters")


def lint(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """lint-imports on the packages and the pyproject.toml in `folder`."""
    command = [str(Path(sys.executable).with_name("lint-imports")), "--no-cache", "--no-logo", *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """A copy of the four packages and of the contracts."""
    for package in PACKAGES:
        shutil.copytree(REPOSITORY / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "pyproject.toml", tmp_path)
    return tmp_path


def test_contracts_hold(copy: Path) -> None:
    result = lint(copy)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("contract", "file", "line"),
    [
        ("rooms", "actors/intruder.py", "import clusters.connect"),
        ("rooms", "tower_rl/types.py", "import actors.group"),
        ("rooms", "tower_rl/stages/intruder.py", "import clusters.connect"),
        ("rooms", "verifiers/types.py", "import tower_rl.types"),
        ("roots", "actors/intruder.py", "import tower_rl.run"),
        ("roots", "clusters/connect.py", "def late():\n    from tower_rl.run import main"),
        ("method", "tower_rl/stages/rlvr.py", "import tower_rl.run"),
        ("method", "tower_rl/config/schema.py", "import tower_rl.types"),
        ("method", "tower_rl/config/intruder.py", "import tower_rl.files"),
        ("method", "tower_rl/intruder.py", ""),
        ("stages", "tower_rl/stages/intruder.py", "import tower_rl.stages.rlvr"),
        ("verifiers-light", "verifiers/intruder.py", "import torch"),
        ("verifiers-light", "verifiers/intruder.py", "def late():\n    import ray"),
        ("verifiers-light", "verifiers/intruder.py", "from transformers.models import llama"),
        ("verifiers-light", "verifiers/intruder.py", "import vllm"),
        ("config-light", "tower_rl/config/load.py", "import torch"),
        ("no-ray", "tower_rl/run.py", "import ray"),
        ("no-ray", "tower_rl/losses/policy.py", "from ray.util import queue"),
        ("no-ray", "tower_rl/intruder.py", "import vllm"),
        ("verl", "tower_rl/batching.py", "from verl.trainer.ppo import core_algos"),
    ],
)
def test_contract_can_fail(copy: Path, contract: str, file: str, line: str) -> None:
    with (copy / file).open("a") as stream:
        stream.write(f"\n{line}\n")
    result = lint(copy, "--contract", contract)
    assert result.returncode != 0
    assert "0 kept, 1 broken." in result.stdout or "exhaustive" in result.stdout.lower(), result.stdout + result.stderr


@pytest.mark.parametrize("package", PACKAGES)
def test_package_is_of_this_repository(package: str) -> None:
    """Another project publishes a package `verifiers`."""
    assert importlib.import_module(package).__file__ == str(REPOSITORY / package / "__init__.py")
