"""Logs that another process writes: the writer here is one, at its own pace."""

import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tower_rl.reporting.follow import following
from tower_rl.reporting.metrics import MetricsLog

WRITER = """
import sys
from pathlib import Path
from tower_rl.reporting.metrics import MetricsLog
log = MetricsLog(Path(sys.argv[1]))
for line in sys.stdin:
    action, step, attempt = line.split()
    if action == "row":
        log.append({"step": int(step), "stage": "sft", "attempt": int(attempt)})
    else:
        log.supersede(int(step))
    print("done", flush=True)
"""


class Writer:
    """A process that writes what it is told."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def __call__(self, action: str, step: int, attempt: int = 1) -> None:
        assert self.process.stdin and self.process.stdout
        print(action, step, attempt, file=self.process.stdin, flush=True)
        assert self.process.stdout.readline() == "done\n"

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.communicate(timeout=30)


def row(step: int, attempt: int = 1) -> dict[str, Any]:
    return {"step": step, "stage": "sft", "attempt": attempt}


def wait_for(shown: list[tuple[int, int]], count: int) -> None:
    end = time.monotonic() + 10
    while len(shown) < count and time.monotonic() < end:
        time.sleep(0.02)


def test_rows_are_shown_while_they_are_written(tmp_path: Path) -> None:
    shown: list[tuple[int, int]] = []
    path = tmp_path / "metrics.jsonl"
    with Writer(path) as write:
        with following(path, lambda row: shown.append((row["step"], row["attempt"]))):
            for step in range(3):
                write("row", step)
                wait_for(shown, step + 1)
                assert shown == [(done, 1) for done in range(step + 1)]
            write("row", 3)  # and what comes right before the end
        assert shown[3:] == [(3, 1)]
        write("row", 4)
    assert len(shown) == 4, "nothing is shown after the end"


def test_a_rollback_repeats_no_row_and_what_is_done_again_is_shown(tmp_path: Path) -> None:
    shown: list[tuple[int, int]] = []
    path = tmp_path / "metrics.jsonl"
    with Writer(path) as write, following(path, lambda row: shown.append((row["step"], row["attempt"]))):
        for step in range(4):
            write("row", step)
        wait_for(shown, 4)
        write("supersede", 1)
        time.sleep(1.2)  # the rewritten log is looked at, alone
        assert len(shown) == 4
        write("row", 2, 2)
        write("supersede", 2)  # a rewrite and a row before the next look
        write("row", 3, 2)
        wait_for(shown, 6)
    assert shown == [(0, 1), (1, 1), (2, 1), (3, 1), (2, 2), (3, 2)]


def test_rows_of_an_earlier_attempt_are_not_shown(tmp_path: Path) -> None:
    shown: list[int] = []
    path = tmp_path / "metrics.jsonl"
    with MetricsLog(path) as log:
        log.append(row(0))
        log.append(row(1))
        with following(path, lambda row: shown.append(row["step"])):
            time.sleep(0.7)
            log.supersede(0)
            log.append(row(1, 2))
    assert shown == [1]


def test_half_a_line_is_shown_once_it_is_whole(tmp_path: Path) -> None:
    shown: list[int] = []
    path = tmp_path / "metrics.jsonl"
    with following(path, lambda row: shown.append(row["step"])):
        with path.open("w") as file:
            file.write('{"step": 0, "attempt": 1}\n{"step": 1, "att')
            file.flush()
            wait_for(shown, 1)
            assert shown == [0]
            file.write('empt": 1}\n')
        wait_for(shown, 2)
    assert shown == [0, 1]


def test_what_is_written_before_the_thread_runs_is_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Late(threading.Thread):
        def run(self) -> None:
            time.sleep(0.3)
            super().run()

    monkeypatch.setattr(threading, "Thread", Late)
    shown: list[int] = []
    path = tmp_path / "metrics.jsonl"
    with following(path, lambda row: shown.append(row["step"])), MetricsLog(path) as log:
        log.append(row(0))
    assert shown == [0]


def test_a_log_that_never_comes_shows_nothing(tmp_path: Path) -> None:
    shown: list[Any] = []
    with following(tmp_path / "none.jsonl", shown.append):
        pass
    assert shown == []
