"""What a process does at the moment, in a file that its driver, and anybody else, can read.

A process that was told where (`publish`) overwrites one line of JSON with each report: one system call, so that each micro-batch
can be reported. Whoever waits for it takes every new report for progress, whatever it says; the screen shows the words. The
file outlives the process: what was reported last is still there when it was killed, or hangs.
"""

import json
import os
import socket
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar

from tower_rl.together import repeating

T = TypeVar("T")

SIZE = 512
"""Bytes of a report, so that a shorter one leaves nothing of a longer one."""
INTERVAL_S = 2.0
"""Seconds between two looks at what was read and written."""
MEGABYTE = 2**20


@dataclass(frozen=True, slots=True)
class Report:
    """What a process said last."""

    host: str
    pid: int
    number: int
    """Reports so far."""
    work: str
    """What it does, e.g. `training`; empty before its first work."""
    unit: str
    """Of what it counts, in the singular."""
    done: int
    """How many units are made, or which one it is at."""
    total: int
    """How many units there are; 0 where nobody knows."""
    at: bool
    """Whether `done` is the one that it is at."""
    seconds: float
    """Since the work began."""
    active: bool
    """Whether the work goes on."""

    def __str__(self) -> str:
        """The work and how far it is: `training micro-batch 3 of 12`, `sampled 40 of 64 responses`, `sampling 640 tokens`."""
        if not self.work:
            return "nothing yet"
        if self.at:
            return f"{self.work} {self.unit} {self.done} of {self.total}"
        of = f" of {self.total}" if self.total else ""
        single = self.unit.isupper() or (self.done == 1 and not of)
        return f"{self.work} {self.done}{of} {self.unit}{'' if single else 'es' if self.unit.endswith('ch') else 's'}"

    @property
    def left_s(self) -> float | None:
        """Seconds until all units are made at the pace so far; None where that is not known."""
        made = self.done - self.at
        return self.seconds / made * (self.total - made) if made and self.total else None


class _Publisher:
    """Writes the reports of this process; does nothing until it is told where."""

    def __init__(self) -> None:
        self.file: int | None = None
        self.number, self.work, self.began = 0, "", 0.0
        self.last: Report | None = None

    def write(self, work: str, unit: str, done: int, total: int, *, at: bool, active: bool) -> None:
        if self.file is None:
            return
        if work != self.work or (self.last and not self.last.active):
            self.work, self.began = work, time.monotonic()
        self.number += 1
        seconds = time.monotonic() - self.began
        self.last = Report(socket.gethostname(), os.getpid(), self.number, work, unit, done, total, at, seconds, active)
        line = json.dumps(asdict(self.last), ensure_ascii=False).encode()
        os.pwrite(self.file, line[: SIZE - 1].ljust(SIZE - 1) + b"\n", 0)


_PUBLISHER = _Publisher()


def publish(path: Path) -> None:
    """Write this process's reports to a file from here on."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if _PUBLISHER.file is not None:
        os.close(_PUBLISHER.file)
    _PUBLISHER.__init__()  # type: ignore[misc]
    _PUBLISHER.file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    _PUBLISHER.write("", "", 0, 0, at=False, active=False)


def report(work: str, unit: str, done: int, total: int = 0) -> None:
    """Report that `done` units of `work` are made, of `total` where that is known; `unit` is singular."""
    _PUBLISHER.write(work, unit, done, total, at=False, active=True)


def finish() -> None:
    """Report that the work last reported has ended."""
    last = _PUBLISHER.last
    if last is not None and last.active:
        _PUBLISHER.write(last.work, last.unit, last.done, last.total, at=last.at, active=False)


def tracked(work: str, unit: str, items: Sequence[T]) -> Iterator[T]:
    """Yield the items, reporting each before it is worked on."""
    for number, item in enumerate(items, start=1):
        _PUBLISHER.write(work, unit, number, len(items), at=True, active=True)
        yield item
    finish()


@contextmanager
def transferring(work: str) -> Iterator[None]:
    """Report the megabytes that this process and its children read and write meanwhile: loading, saving."""
    began, shown = _transferred(), 0

    def look() -> None:
        nonlocal shown
        moved = (_transferred() - began) // MEGABYTE
        if moved != shown:
            report(work, "MB", moved)
            shown = moved

    report(work, "MB", 0)
    try:
        with repeating(INTERVAL_S, look):
            yield
    finally:
        finish()


def read(path: Path) -> Report | None:
    """Return the last report in a file; None where there is none, or only half of one."""
    try:
        return Report(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def status_path(log: Path) -> Path:
    """Return where the process with this log reports."""
    return log.with_suffix(".status")


def children(pid: int) -> list[int]:
    """Return the processes below one, on this machine."""
    below: list[int] = []
    for tasks in Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            below += [int(child) for child in tasks.read_text().split()]
        except OSError:
            continue
    return below + [pid_ for child in below for pid_ in children(child)]


def _transferred() -> int:
    """Bytes that this process and those below it have read and written, pages of mapped files included."""
    return sum(_io(pid) for pid in [os.getpid(), *children(os.getpid())])


def _io(pid: int) -> int:
    try:
        counts = dict(line.split(": ") for line in Path(f"/proc/{pid}/io").read_text().splitlines())
    except (OSError, ValueError):
        return 0
    return int(counts["rchar"]) + int(counts["wchar"]) + int(counts["read_bytes"])
