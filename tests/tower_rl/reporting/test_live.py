"""What is shown between two lines of progress."""

import sys
import time
from collections.abc import Callable, Iterator
from io import StringIO
from pathlib import Path

import pytest
from rich.console import Console

from tower_rl import status
from tower_rl.reporting.live import activity, described, libraries_to, now_and_then
from tower_rl.reporting.progress import Progress
from tower_rl.reporting.text import span
from tower_rl.status import Report

ROW = {"step": 2, "reward/mean": 0.5, "time/step": 40.0}


@pytest.fixture
def says(tmp_path: Path) -> Iterator[Callable[..., None]]:
    """Reports as a process of the given name."""

    def write(name: str, *reported: object, ended: bool = False) -> None:
        status.publish(tmp_path / f"{name}.status")
        status.report(*reported)  # type: ignore[arg-type]
        if ended:
            status.finish()

    yield write
    status.publish(tmp_path / "elsewhere" / "none.status")


def test_each_kind_of_process_at_work_has_its_part(tmp_path: Path, says: Callable[..., None]) -> None:
    assert activity(tmp_path) == ""
    says("policy-0", "training", "micro-batch", 5, 12)
    says("policy-1", "training", "micro-batch", 3, 12)
    says("rollout-0", "sampling", "token", 640, ended=True)
    says("driver", "sampled", "response", 37, 64)
    says("something", "new", "thing", 1)
    (tmp_path / "broken.status").write_text("{")
    assert activity(tmp_path) == "sampled 37 of 64 responses · training 3 of 12 micro-batches · new 1 thing"


def test_rates_and_the_time_left() -> None:
    def doing(work: str, unit: str, done: int, total: int, at: bool) -> Report:
        return Report("host", 1, 9, work, unit, done, total, at=at, seconds=100.0, active=True)

    assert described([doing("sampling", "token", 5000, 0, False)]) == "sampling 5000 tokens, 50/s"
    assert described([doing("training", "micro-batch", 3, 12, True)]) == "training micro-batch 3 of 12, 8 min left"
    both = [doing("scoring", "batch", 9, 10, True), doing("scoring", "batch", 6, 10, True)]
    assert described(both) == "scoring batch 6 of 10, 2 min left", "the slower one"


def test_a_log_gets_a_line_now_and_then() -> None:
    written: list[str] = []
    lines = iter(["", "training", "training", "sampling"])
    with now_and_then(written.append, lambda: next(lines, "sampling"), seconds=0.05):
        time.sleep(0.5)
    assert written == ["  now: training", "  now: sampling"]


def test_a_terminal_has_a_line_that_goes(tmp_path: Path, says: Callable[..., None]) -> None:
    out = StringIO()
    progress = Progress(Console(file=out, force_terminal=True, width=100, color_system=None, legacy_windows=False))
    says("policy-0", "training", "micro-batch", 3, 12)
    with progress.live(tmp_path):
        time.sleep(0.6)
        progress.step(ROW, 5)
        time.sleep(0.6)
    shown = out.getvalue()
    assert "training 3 of 12 micro-batches" in shown
    assert "step 4 of 5, about 80 s left · training 3 of 12" in shown
    assert shown.endswith("\x1b[1A\x1b[2K") or shown.endswith("\x1b[2K"), "nothing of it stays"


def test_after_the_last_step_no_step_is_named(tmp_path: Path) -> None:
    out = StringIO()
    progress = Progress(Console(file=out, force_terminal=True, width=100, color_system=None, legacy_windows=False))
    with progress.live(tmp_path):
        progress.step(ROW | {"step": 4}, 5)
        time.sleep(0.6)
    assert "step 6" not in out.getvalue()


def test_what_libraries_print_goes_to_a_log(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    progress = Progress()
    with libraries_to(tmp_path / "driver.log"):
        print("Loading weights: 100%", file=sys.stderr)
        print("[WARNING] Setting accelerator to CPU")
        progress.note("prompts: 12")
    print("done")
    assert capsys.readouterr() == ("prompts: 12\ndone\n", "")
    assert (tmp_path / "driver.log").read_text() == "Loading weights: 100%\n[WARNING] Setting accelerator to CPU\n"


@pytest.mark.parametrize(("seconds", "words"), [(7.4, "7 s"), (89, "89 s"), (100, "2 min"), (5000, "83 min"), (9000, "2.5 h")])
def test_spans(seconds: float, words: str) -> None:
    assert span(seconds) == words
