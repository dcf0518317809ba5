"""The example plug-in, installed into an environment of its own beside this project's, and trained with."""

import json
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tower_rl.reporting.metrics import read

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[2]
PLUGIN = ROOT / "examples" / "verifier_plugin"

CONFIG = """
run: {{name: plugin, dir: {folder}}}
model: {{path: {model}, dtype: float32}}
data:
  max_prompt_tokens: 200
  sources:
    writing: {{kind: constraints, rules: [max_words], verifier: style}}
rollout: {{group_size: 4, prompts_per_step: 2, max_new_tokens: 16, memory_gib: 1.0}}
policy: {{tokens_per_micro_batch: 512}}
verifiers:
  plain: {{use: plain_language, options: {{most_words: 5}}, cache: true}}
  calm: {{use: no_exclamation}}
  rules: {{use: constraints}}
  style: {{gates: [calm], weights: {{plain: 1.0}}, watched: [rules]}}
stages: [{{name: rl, kind: rlvr, steps: 2}}]
"""


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """The interpreter of an environment that has the plug-in, and sees what this one has."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=120)
    interpreter = home / "bin" / "python"
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "beneath.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    install = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--quiet", str(copy_of(PLUGIN, home / "plugin"))], check=True, timeout=300)
    return interpreter


def copy_of(folder, target):
    """A build leaves files beside its sources; it gets a copy."""
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            (target / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(folder)).write_bytes(path.read_bytes())
    return target


def ran(python, *arguments, timeout=120, **options):
    result = subprocess.run([str(python), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=timeout, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_it_is_listed_and_judges(python):
    listed = ran(python, "-m", "verifiers")
    assert "no_exclamation       No exclamation mark." in listed
    assert "plain_language" in listed
    row = json.dumps({"response": "Short. This one is too long."})
    assert json.loads(ran(python, "-m", "verifiers", "plain_language", "-", "most_words=3", input=row))["score"] == 0.5


def test_its_own_tests_pass(python):
    assert "4 passed" in ran(python, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests"))


@pytest.mark.slow
def test_it_trains(python, tiny_model, tmp_path):
    config, folder = tmp_path / "plugin.yaml", tmp_path / "run"
    config.write_text(CONFIG.format(folder=folder, model=tiny_model))
    ran(python, "-m", "tower_rl.run", str(config), timeout=600)
    rows = read(folder / "stages" / "0-rl" / "metrics.jsonl")
    assert len(rows) == 2
    for row in rows:
        assert row["invalid_rate"] == 0
        assert {f"verifier/style/part/{part}" for part in ("plain", "calm", "rules")} <= row.keys()
    assert (folder / "verdicts.sqlite").exists()
