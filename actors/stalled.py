"""Processes that show no progress: what they reported last, their stacks, the end of their logs."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from tower_rl.protocols import DeadlineExceeded
from tower_rl.status import Report, children, read, status_path
from tower_rl.together import repeating

STACK_SIGNAL = signal.SIGUSR2
"""At it a process writes the stacks of its threads (actors.process.log_to), even while C code keeps Python from running."""
WITHIN_S = 5.0
"""Seconds that a process has to answer."""
LOG_LINES, LOG_BYTES = 8, 2**16
SHOWN = 4
"""Processes of which an error tells."""
READ_EVERY_S = 0.5


@dataclass(frozen=True, slots=True)
class Limit:
    """How long one waits for somebody who shows no progress."""

    seconds: float
    key: str
    """Of the configuration, that sets it; empty where none does."""

    def gave_up(self, waited_for: str, known: str = "") -> DeadlineExceeded:
        """Return the error of whoever waited for as long; `known` is what there is to say about it."""
        key = f" ({self.key})" if self.key else ""
        return DeadlineExceeded(f"gave up waiting for {waited_for} after {self.seconds:.0f} s without progress{key}{known}")


class Watch:
    """Remembers when a process last reported something new; times are of this process's clock, so clocks need not agree."""

    def __init__(self, name: str, log: Path) -> None:
        """`log` is the file of the process's output, which its reports lie beside."""
        self.name, self.log = name, log
        self.report: Report | None = None
        self._seen: tuple[int, int] | None = None
        self._moved = self._read = 0.0

    def moved(self) -> float:
        """Return the time (`time.monotonic`) of the last new report; 0.0 where there was none."""
        now = time.monotonic()
        if now - self._read >= READ_EVERY_S:  # many calls may wait for one actor
            self._read = now
            report = read(status_path(self.log))
            if report is not None and (report.pid, report.number) != self._seen:
                self.report, self._seen, self._moved = report, (report.pid, report.number), now
        return self._moved


def stalled(watches: Sequence[Watch]) -> str:
    """Say what processes reported last and when, the one that has been silent longest first, with the end of its log.

    The stacks of their threads are written beside their logs. Nothing is said where there are none.
    """
    if not watches:
        return ""
    ordered = sorted(watches, key=Watch.moved)
    lines = [f"  {watch.name}: {_heard(watch)}" for watch in ordered[:SHOWN]]
    if len(ordered) > SHOWN:
        lines.append(f"  and {len(ordered) - SHOWN} more")
    log = ordered[0].log
    return "\n".join(["; last heard:", *lines, f"the end of {log}:", *_log_end(log)])


def _heard(watch: Watch) -> str:
    """The last report of a process, its age, and the file of the stacks that it is asked for here."""
    if watch.report is None:
        return "nothing"
    stack = watch.log.with_suffix(".stack")
    written = on_its_node(watch.report, write_stacks, str(stack))
    where = f"; stacks of its threads in {stack}" if written else ""
    return f"{watch.report}, {time.monotonic() - watch.moved():.0f} s ago{where}"


@contextmanager
def ending_stalled(watches: Sequence[Watch], limit: Limit, tell: Callable[[str], None]) -> Iterator[list[DeadlineExceeded]]:
    """Meanwhile end the process that was silent longest whenever none has reported anything new within the limit.

    For processes that somebody else starts anew: nothing is done before their first report. `tell` is given a line each time.

    Yields:
        a list to which the error is added each time.
    """
    for watch in watches:
        status_path(watch.log).unlink(missing_ok=True)  # of those that ran before
    seen: list[DeadlineExceeded] = []
    ended: set[int] = set()

    def look() -> None:
        moved = max(watch.moved() for watch in watches)
        if any(watch.report is not None and watch.report.pid in ended for watch in watches):
            return  # the one that takes its place has not begun yet
        if 0 < moved < time.monotonic() - limit.seconds:
            seen.append(limit.gave_up(", ".join(watch.name for watch in watches), stalled(watches)))
            first, silent, *_ = str(seen[-1]).splitlines()
            tell(f"{first}{silent.removeprefix(' ')}; it is ended")
            slowest = min(watches, key=Watch.moved)
            if slowest.report is not None and on_its_node(slowest.report, send_signal, signal.SIGKILL):
                ended.add(slowest.report.pid)

    with repeating(READ_EVERY_S, look):
        yield seen


def on_its_node(report: Report, function: Callable[..., bool], *arguments: object) -> bool:
    """Call `function(pid, *arguments)` on the node of the process that made a report; False where that cannot be done."""
    if report.host == socket.gethostname():
        return function(report.pid, *arguments)
    nodes = [node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeManagerHostname"] == report.host]
    if not nodes:
        return False
    task: Any = ray.remote(num_cpus=0)(function)
    there = NodeAffinitySchedulingStrategy(nodes[0], soft=False)
    answered, _ = ray.wait([task.options(scheduling_strategy=there).remote(report.pid, *arguments)], timeout=WITHIN_S)
    return bool(answered) and bool(ray.get(answered[0]))


def write_stacks(pid: int, path: str) -> bool:
    """Have a process of this machine write the stacks of its threads to its file; answers whether they are there.

    Those of processes below it (vLLM computes in one) follow where py-spy may look at them.
    """
    if not send_signal(pid, STACK_SIGNAL) or not _grown(Path(path), WITHIN_S):
        return False
    spy = shutil.which("py-spy", path=os.path.dirname(sys.executable)) or "py-spy"
    with open(path, "a") as file:
        for child in children(pid):
            try:
                subprocess.run(
                    [spy, "dump", "--nonblocking", "--pid", str(child)], stdout=file, stderr=file, timeout=WITHIN_S, check=False
                )
            except (OSError, subprocess.TimeoutExpired):
                break
    return True


def send_signal(pid: int, number: int) -> bool:
    """Send a signal to a process of this machine; answers whether it is there and ours."""
    try:
        os.kill(pid, number)
    except OSError:
        return False
    return True


def _grown(path: Path, seconds: float) -> bool:
    """Whether a file has something in it within so many seconds."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if path.exists() and path.stat().st_size:
            return True
        time.sleep(0.05)
    return False


def _log_end(log: Path) -> list[str]:
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - LOG_BYTES))
            lines = file.read().decode("utf-8", errors="replace").splitlines()
    except OSError:
        return ["  (there is no log)"]
    shown = [re.sub(r"\x1b\[[0-9;]*m", "", line.rpartition("\r")[2]) for line in lines if line.strip()][-LOG_LINES:]
    return [f"  {line[:300]}" for line in shown]
