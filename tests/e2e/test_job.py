"""Runs as Ray jobs on a head of their own: submitted both ways, resumed, stopped, refused."""

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from types import SimpleNamespace

import pytest
from processes import ROOT, alive

from tower_rl import checkpoint
from tower_rl.reporting.metrics import read

pytestmark = [pytest.mark.ray, pytest.mark.slow]

RAY = Path(sys.executable).parent / "ray"
STOP_WAIT_S = 240
STEPS = 30
PORTS = ("port", "ray-client-server-port", "dashboard-agent-listen-port", "dashboard-agent-grpc-port")

CONFIG = """
run: {{name: job, dir: {folder}}}
model: {{path: {model}, dtype: float32}}
data:
  max_prompt_tokens: 200
  sources: {{instructions: {{kind: constraints, rules: [lowercase, max_words], verifier: rules}}}}
rollout: {{group_size: 4, prompts_per_step: 2, max_new_tokens: 8, memory_gib: 1.0}}
policy: {{tokens_per_micro_batch: 512, learning_rate: 0.01}}
verifiers: {{rules: {{use: constraints}}}}
evaluation: {{prompts: 0}}
stages: [{{name: rl, kind: rlvr, steps: {steps}, save_every: 1000}}]
"""


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A Ray head in a process group of its own, away from the repository, whose environment has the project."""
    away = tmp_path_factory.mktemp("away")
    dashboard = free_port()
    # a token of this head alone: with neither mode nor token a head and its client may each find another one
    secrets = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": uuid.uuid4().hex}
    env = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")} | secrets
    env |= {"PATH": f"{RAY.parent}:{env['PATH']}", "PYTHONPATH": str(ROOT), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp", ignore_cleanup_errors=True) as folder:
        ports = [f"--{name}={free_port()}" for name in PORTS]
        places = ["--dashboard-host=127.0.0.1", f"--dashboard-port={dashboard}", f"--temp-dir={folder}"]
        sizes = ["--num-cpus=6", "--object-store-memory=200000000", "--min-worker-port=0", "--max-worker-port=0"]
        command = [RAY, "start", "--head", "--block", "--disable-usage-stats", "--node-ip-address=127.0.0.1"]
        with (away / "head.log").open("w") as log:
            process = subprocess.Popen(
                [*command, *ports, *places, *sizes], cwd=away, env=env, stdout=log, stderr=log, start_new_session=True
            )
        made = SimpleNamespace(
            url=f"http://127.0.0.1:{dashboard}", env=env | {"RAY_API_SERVER_ADDRESS": f"http://127.0.0.1:{dashboard}"}, away=away
        )
        try:
            until(lambda: answers(made), 180, lambda: (away / "head.log").read_text())
            yield made
        finally:
            end(process, folder)


def end(process, folder):
    """The head ends its node when it is asked to; what it leaves is found by its folder, and is this test's own."""
    process.terminate()
    try:
        process.wait(60)
    except subprocess.TimeoutExpired:
        process.kill()
    ours = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                command = (entry / "cmdline").read_text()
            except OSError:
                continue
            ours += [int(entry.name)] if folder in command else []
    for pid in filter(alive, ours):
        os.kill(pid, signal.SIGKILL)


def until(condition, seconds, told):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"nothing happened within {seconds} s: {told()}"
        time.sleep(1)


def asked(head, path):
    """What the head's interface for jobs answers."""
    request = urllib.request.Request(
        f"{head.url}/api/jobs/{path}", headers={"Authorization": f"Bearer {head.env['RAY_AUTH_TOKEN']}"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def answers(head):
    """Whether there is a head yet."""
    try:
        asked(head, "")
    except (urllib.error.URLError, OSError):
        return False
    return True


def output_of(head, name):
    return asked(head, f"{name}/logs")["logs"]


def job(head, *arguments, cwd=None):
    """What a command of `ray job` says, and its exit code."""
    result = subprocess.run(
        [RAY, "job", *map(str, arguments)], cwd=cwd or head.away, env=head.env, capture_output=True, text=True, timeout=300
    )
    return SimpleNamespace(code=result.returncode, text=result.stdout + result.stderr)


def submit(head, *arguments, options=(), cwd=None):
    """The id of a job that runs `python -m tower_rl.run` with some arguments."""
    name = f"run-{uuid.uuid4().hex[:8]}"
    command = ("submit", "--no-wait", "--submission-id", name, *options, "--", "python", "-m", "tower_rl.run", *arguments)
    deadline = time.monotonic() + 120
    # just after its start a head says that no agent is available
    while (said := job(head, *command, cwd=cwd)).code and "No available agent" in said.text and time.monotonic() < deadline:
        time.sleep(2)
    assert said.code == 0, said.text
    return name


def ended(head, name, seconds=400):
    """How a job ended, and its output."""
    until(lambda: asked(head, name)["status"] in ("SUCCEEDED", "FAILED", "STOPPED"), seconds, lambda: output_of(head, name))
    return asked(head, name)["status"], output_of(head, name)


def test_a_stopped_job_leaves_a_checkpoint_and_another_goes_on(head, tiny_model, tmp_path):
    """The first runs where the head's environment has the project, the second with the repository as its working directory."""
    config, folder, stage = tmp_path / "job.yaml", tmp_path / "run", tmp_path / "run" / "stages" / "0-rl"
    config.write_text(CONFIG.format(folder=folder, model=tiny_model, steps=STEPS))
    patient = ("--runtime-env-json", json.dumps({"env_vars": {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_WAIT_S)}}))
    first = submit(head, config, options=patient)
    until(lambda: len(read(stage / "metrics.jsonl")) >= 1, 400, lambda: output_of(head, first))
    assert job(head, "stop", "--no-wait", first).code == 0
    state, output = ended(head, first)
    assert state == "STOPPED", output
    assert "stopping after the running step" in output and "go on with --resume" in output, output
    assert json.loads((folder / "manifest.json").read_text())["status"] == "stopped"
    done = len(read(stage / "metrics.jsonl"))
    assert checkpoint.step_of(checkpoint.latest(stage)) == done < STEPS

    state, output = ended(head, submit(head, config, "--resume", options=("--working-dir", "."), cwd=ROOT))
    assert state == "SUCCEEDED", output
    rows = read(stage / "metrics.jsonl", superseded=True)
    assert [row["step"] for row in rows] == list(range(STEPS)), "no step is lost or done twice"
    assert [row["attempt"] for row in rows] == [1] * done + [2] * (STEPS - done)
    assert json.loads((folder / "manifest.json").read_text())["status"] == "finished"


def test_what_cannot_be_run_fails_and_says_why(head, tmp_path):
    """The literal command, away from the repository: its configuration is found, and its relative run folder refused."""
    state, output = ended(head, submit(head, "configs/demo.yaml"))
    assert state == "FAILED"
    assert "demo.yaml:4: run.dir: must be an absolute path in a Ray job, not 'runs/demo'" in output, output
    state, output = ended(head, submit(head, "configs/none.yaml"))
    assert state == "FAILED"
    assert "configs/none.yaml: no such file, neither in " in output and f" nor in {ROOT}" in output, output
