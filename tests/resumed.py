"""A run that is killed half-way and resumed, and what must be true of the rows and rollouts of one of RL."""

import os
import signal
import sys
from types import SimpleNamespace

from processes import family, start, survivors, wait_until

from tower_rl import checkpoint
from tower_rl.reporting.metrics import read
from tower_rl.reporting.rollouts import read_rollouts


def killed_and_resumed(config, stage, rows=3, seconds=400, python=sys.executable):
    """What there is of both attempts: `output` of the second, `left`, the processes that outlived their drivers, and `written`,
    by log the number of bytes that the first one wrote.

    The driver is killed after so many rows, one checkpoint behind it; `seconds` is the deadline of each wait.
    """
    first = start(config, python=python)
    wait_until(lambda: checkpoint.latest(stage) is not None and len(read(stage / "metrics.jsonl")) >= rows, seconds, first)
    relatives = family(first.pid)
    os.kill(first.pid, signal.SIGKILL)
    first.wait(60)
    left = survivors(relatives)
    written = {path.name: path.stat().st_size for path in (stage.parents[1] / "logs").iterdir()}
    second = start(config, "--resume", python=python)
    wait_until(lambda: any(row["attempt"] == 2 for row in read(stage / "metrics.jsonl")), seconds, second)
    relatives = family(second.pid)
    output, _ = second.communicate(timeout=seconds)
    assert second.returncode == 0, output
    return SimpleNamespace(output=output, left=left + survivors(relatives), written=written)


def assert_each_prompt_once(stage, steps, prompts):
    """Every step is there, with the prompts whose turn it was, and versions only grow, superseded rows included."""
    rows = read(stage / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(steps))
    assert {row["attempt"] for row in rows} == {1, 2}
    for step in range(steps):
        cursors = {r["cursor"] for r in read_rollouts(stage / "rollouts" / f"step-{step}.parquet")}
        assert cursors == set(range(prompts * step, prompts * (step + 1)))
    versions = [row["policy_version"] for row in read(stage / "metrics.jsonl", superseded=True)]
    assert versions == sorted(set(versions))
