"""A line about what a run does now, from what its processes report (tower_rl.status)."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from itertools import groupby
from pathlib import Path

from rich.console import Console
from rich.live import Live
from rich.text import Text

from tower_rl.reporting.text import printable, span
from tower_rl.status import Report, read
from tower_rl.together import repeating

EVERY_S = 30.0
"""Seconds between two lines in a log."""
ORDER = ("driver", "rollout", "verification", "reward", "reference", "policy")


def activity(logs: Path) -> str:
    """Say what the processes that report in a folder do: a part for each kind of process that is at work."""
    found = {path.stem: report for path in logs.glob("*.status") if (report := read(path)) is not None and report.active}
    role = {name: name.rpartition("-")[0] or name for name in found}
    names = sorted(found, key=lambda name: (ORDER.index(role[name]) if role[name] in ORDER else len(ORDER), role[name]))
    return " · ".join(described([found[name] for name in group]) for _, group in groupby(names, key=role.__getitem__))


def described(reports: Sequence[Report]) -> str:
    """Say what processes of one kind do: the slowest of them, with its rate, or the seconds that it still needs."""
    slowest = min(reports, key=lambda report: report.done / max(1, report.total))
    parts = [str(slowest)]
    if slowest.left_s is not None and slowest.left_s >= 1:
        parts.append(f"{span(slowest.left_s)} left")
    elif not slowest.total and slowest.seconds >= 1:
        parts.append(f"{slowest.done / slowest.seconds:.0f}/s")
    return ", ".join(parts)


def on_terminal(console: Console, line: Callable[[], str]) -> Live:
    """A line at the end of the screen, made anew twice a second, gone at the end."""

    def shown() -> Text:
        return Text(printable(line()), no_wrap=True, overflow="ellipsis")

    return Live(
        get_renderable=shown, console=console, refresh_per_second=2, transient=True, redirect_stdout=False, redirect_stderr=False
    )


@contextmanager
def now_and_then(write: Callable[[str], None], line: Callable[[], str], seconds: float = EVERY_S) -> Iterator[None]:
    """Meanwhile write the line every so many seconds, unless it says the same as before or nothing."""
    before = ""

    def tell() -> None:
        nonlocal before
        if (now := line()) not in ("", before):
            write(f"  now: {now}")
            before = now

    with repeating(seconds, tell):
        yield


@contextmanager
def libraries_to(log: Path) -> Iterator[None]:
    """Meanwhile send what libraries print in this process to a file; a Console that was made before keeps the screen."""
    file = log.open("a", buffering=1, encoding="utf-8")  # stays open: handlers of logging keep it beyond the end
    with redirect_stdout(file), redirect_stderr(file):
        yield
