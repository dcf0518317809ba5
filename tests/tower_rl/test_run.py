"""The command line, as a user meets it."""

import os
import subprocess
import sys
import time
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from tower_rl.run import main

ROOT = Path(__file__).parents[2]


def run(*arguments, cwd=ROOT, **env):
    return subprocess.run(
        [sys.executable, "-m", "tower_rl.run", *map(str, arguments)],
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_help_answers_at_once():
    start = time.monotonic()
    result = run("--help")
    assert result.returncode == 0
    assert all(word in result.stdout for word in ("CONFIG", "key.path=value", "--plan", "--resume", "--fresh"))
    assert time.monotonic() - start < 2


@pytest.mark.parametrize(
    ("command", "name"),
    [
        (["-m", "tower_rl.run"], "python -m tower_rl.run"),
        (["tower_rl/run.py"], "run.py"),
        (["-c", "import sys; sys.argv[0] = '/opt/bin/tower-rl'; from tower_rl.run import main; main()"], "tower-rl"),
    ],
    ids=["module", "file", "console script"],
)
def test_help_names_what_was_called(command, name):
    result = subprocess.run(
        [sys.executable, *command, "--help"],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert result.stdout.startswith(f"usage: {name} [-h]")


def test_the_version_answers_at_once():
    start = time.monotonic()
    result = run("--version")
    assert time.monotonic() - start < 2
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    assert (result.returncode, result.stdout, result.stderr) == (0, f"tower-rl {declared}\n", "")
    command = "import sys, tower_rl.run as run; run._parser(); sys.exit('torch' in sys.modules or 'ray' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", command], cwd=ROOT, timeout=120).returncode == 0


def test_a_checkout_without_installation_has_no_version(monkeypatch, capsys):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr("tower_rl.run.version", missing)
    with pytest.raises(SystemExit, match="0"):
        main(["--version"])
    assert capsys.readouterr().out == "tower-rl, of a checkout that is not installed\n"


def test_all_problems_at_once_with_exit_code_2(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text("extends: " + str(ROOT / "configs" / "demo.yaml") + "\nrollout:\n  group_sise: 4\n  max_new_tokens: many\n")
    start = time.monotonic()
    result = run(path, "policy.workers")
    assert time.monotonic() - start < 2
    assert result.returncode == 2
    assert result.stdout == ""
    lines = result.stderr.splitlines()
    assert f"{path}:3: rollout.group_sise: unknown key; did you mean group_size?" in lines
    assert any(line.startswith(f"{path}:4: rollout.max_new_tokens: must be a whole number") for line in lines)
    assert any("policy.workers" in line and "=" in line for line in lines)
    assert "Traceback" not in result.stderr


def test_a_job_away_from_the_repository_must_say_where_the_run_goes(tmp_path):
    job = {"cwd": tmp_path, "PYTHONPATH": str(ROOT), "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}"}
    result = run("configs/demo.yaml", **job)
    assert result.returncode == 2
    assert "demo.yaml:4: run.dir: must be an absolute path in a Ray job, not 'runs/demo'" in result.stderr
    assert run("configs/demo.yaml", f"run.dir={tmp_path / 'run'}", "--plan", **job).returncode == 0
    result = run("configs/none.yaml", **job)
    assert result.returncode == 2
    assert result.stderr == f"configs/none.yaml: no such file, neither in {tmp_path} nor in {ROOT}\n"


def test_options_may_stand_before_overrides(tmp_path):
    result = run("configs/demo.yaml", "--plan", "rollout.engines=3", f"run.dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert "3 x rollout" in result.stdout
    assert "8 prompts x 8 samples = 64 rollouts" in result.stdout
    assert not list(tmp_path.iterdir()), "a plan leaves nothing behind"


@pytest.mark.parametrize("workers", [1, 4])
def test_the_plan_of_a_supervised_stage_needs_no_cluster(tmp_path, workers):
    result = run("configs/sft_smollm.yaml", "--plan", f"policy.workers={workers}", f"run.dir={tmp_path}")
    assert result.returncode == 0, result.stderr
    assert "stage 0-sft (sft): 100 steps, checkpoint every 50" in result.stdout
    assert f"{workers} x policy rank on Ray Train" in result.stdout
    assert "a step: 4096 tokens, 8 packs of 512" in result.stdout
    assert "in all: 409,600 tokens of django" in result.stdout
    assert "starting Ray" not in result.stdout
    assert not list(tmp_path.iterdir()), "a plan leaves nothing behind"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "use --resume to go on or --fresh to start again"),
        (["--fresh"], "choose another run.dir"),
        (["--resume"], "nothing to resume"),
    ],
)
def test_a_folder_of_somebody_else_is_left_alone(tmp_path, flags, message):
    (tmp_path / "thesis.tex").write_text("precious")
    result = run("configs/demo.yaml", f"run.dir={tmp_path}", *flags)
    assert result.returncode == 2
    assert message in result.stderr
    assert (tmp_path / "thesis.tex").read_text() == "precious"


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("data.sources.catalogue.languages=[de, xx]", "xx"),
        ("data.sources.sums.task=chain_sun", "chain_sum"),
        ("verifiers.sums.options={last_numbr: true}", "last_number"),
        ("data.max_prompt_tokens=1", "catalogue"),
    ],
)
def test_what_only_the_data_can_show_is_refused_before_ray_starts(tiny_model, tmp_path, capsys, override, message):
    assert main([str(ROOT / "configs/demo.yaml"), f"model.path={tiny_model}", f"run.dir={tmp_path / 'run'}", override]) == 2
    shown = capsys.readouterr()
    assert message in shown.err
    assert "Traceback" not in shown.err
    assert "starting Ray" not in shown.out
