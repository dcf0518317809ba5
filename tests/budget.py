"""A plug-in of pytest: the time that tests may take, told after every session, and held on an unloaded, fast machine.

A part's time is the sum of its tests' durations, everything included, over the number of workers that shared them. A test's
own time leaves out the fixtures of a wider scope than itself: each of those is held to the same limit by itself, once. In
the slow part single tests may take as long as they like. tests/README.md says what the limits are for.
"""

import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

MINUTE = 60.0
LONGEST = MINUTE
"""Seconds of a single test, and of a single shared fixture, outside the slow part."""
BUDGETS = {"unit": 3 * MINUTE, "alone": 9 * MINUTE, "slow": 20 * MINUTE}
"""Seconds of each part of the suite; with set-up and linting these are four minutes of `make check`, twelve of `make test`."""
SLACK = 1.5
"""Times its limit that something takes before it fails a session: processors that count as fast differ by as much."""
ALONE = ("ray", "ranks", "jail")
"""Markers of the tests that want the machine to themselves, as in the Makefile."""
SHARE_OF_OTHERS = 0.15
"""Of the machine's processor time; what other processes may take on an unloaded machine."""
FAST = ("avx512_bf16", "amx_bf16")
"""Flags of processors that multiply bfloat16 in hardware; the limits were measured on one."""


def part_of(markers: set[str]) -> str:
    """The part of the suite that a test with such markers belongs to."""
    if "slow" in markers:
        return "slow"
    return "alone" if markers.intersection(ALONE) else "unit"


def slow_processor(cpuinfo: str, environment: Mapping[str, str]) -> str:
    """Why the processor is a slow one, or nothing."""
    flags = next((line.split() for line in cpuinfo.splitlines() if line.startswith("flags")), [])
    if not set(FAST).intersection(flags):
        return "the processor does not multiply bfloat16"
    if environment.get("ONEDNN_MAX_CPU_ISA", "ALL") not in ("ALL", "DEFAULT"):
        return "ONEDNN_MAX_CPU_ISA makes it a slower processor"
    return ""


@dataclass
class Process:
    """A process of ours when it was last seen; in seconds of processor time."""

    parent: tuple[int, int] | None
    own: float
    children: float
    """Of those that ended and that it has waited for."""


@dataclass
class Load:
    """How much of the machine's processor time others took: all of it, from /proc/stat, less that of our own processes.

    Ours are this process, what descends from it, and what did so when it was seen first: Ray's workers outlive their parents.
    """

    interval: float = 1.0
    seen: dict[tuple[int, int], Process] = field(default_factory=dict)
    alive: set[tuple[int, int]] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.tick = 1 / os.sysconf("SC_CLK_TCK")
        self.ended = threading.Event()
        self.look()
        self.began = time.monotonic(), self.busy(), self.ours()
        self.thread = threading.Thread(target=self._watch, name="load", daemon=True)
        self.thread.start()

    def others(self) -> float:
        """Ends the watch; the share of the machine that was not ours."""
        self.ended.set()
        self.thread.join()
        self.look()
        now = time.monotonic(), self.busy(), self.ours()
        wall, busy, ours = (after - before for after, before in zip(now, self.began, strict=True))
        return max(0.0, busy - ours) / max(wall * (os.cpu_count() or 1), 1e-3)

    def busy(self) -> float:
        """Seconds in which the machine's cores did something, or were taken from a virtual machine."""
        user, nice, system, _, _, *rest = map(int, Path("/proc/stat").read_text().splitlines()[0].split()[1:])
        return (user + nice + system + sum(rest[:3])) * self.tick  # interrupts, soft ones, steal

    def ours(self) -> float:
        """Seconds of all our processes, those that ended too: with what their parents waited for, or as they were last seen."""
        ended: dict[tuple[int, int] | None, float] = defaultdict(float)
        for key in self.seen.keys() - self.alive:
            ended[self.seen[key].parent] += self.seen[key].own + self.seen[key].children
        unseen = sum(max(0.0, process.children - ended[key]) for key, process in self.seen.items())
        return sum(process.own for process in self.seen.values()) + unseen

    def look(self) -> None:
        """Sees which of our processes there are."""
        found = {}
        for entry in Path("/proc").iterdir():
            if entry.name.isdigit():
                try:
                    values = (entry / "stat").read_text().rpartition(")")[2].split()
                except OSError:  # it has ended
                    continue
                found[int(entry.name)] = values
        self.alive = set()
        for pid in found:
            self._own(pid, found)

    def _own(self, pid: int, found: Mapping[int, list[str]]) -> tuple[int, int] | None:
        """The key of a process if it is ours, which is then up to date."""
        if pid not in found:
            return None
        values = found[pid]
        key = pid, int(values[19])  # with when it began, for numbers come again
        if key in self.alive:
            return key
        parent = self._own(int(values[1]), found)
        if key in self.seen:
            parent = self.seen[key].parent
        elif parent is None and pid != os.getpid():
            return None
        user, system, *waited = (int(value) * self.tick for value in values[11:15])
        self.seen[key] = Process(parent, user + system, sum(waited))
        self.alive.add(key)
        return key

    def _watch(self) -> None:
        while not self.ended.wait(self.interval):
            self.look()


class Stopwatch:
    """Where tests run: leaves in each report what the controller cannot know of."""

    def __init__(self) -> None:
        self.shared: dict[str, float] = {}
        self.within: list[float] = []  # by fixture that is being set up, the outermost first: seconds of those it asked for

    @pytest.hookimpl(wrapper=True)
    def pytest_fixture_setup(self, fixturedef: Any) -> Iterator[None]:
        if fixturedef.scope == "function":
            return (yield)
        began = time.perf_counter()
        self.within.append(0.0)
        try:
            return (yield)
        finally:
            seconds, name = time.perf_counter() - began, f"the fixture {fixturedef.argname} of {fixturedef.baseid or 'a plug-in'}"
            self.shared[name] = self.shared.get(name, 0.0) + seconds - self.within.pop()
            if self.within:
                self.within[-1] += seconds

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_makereport(self, item: pytest.Item) -> Iterator[None]:
        report = yield
        report.budget = {"part": part_of({mark.name for mark in item.iter_markers()}), "shared": self.shared}
        self.shared = {}
        return report


class Budget:
    """Where results come together: adds up, judges, tells."""

    def __init__(self, load: Load) -> None:
        self.load = load
        self.parts: dict[str, float] = defaultdict(float)
        self.longest: dict[str, float] = defaultdict(float)
        self.over: list[str] = []
        self.excuse = ""
        self.workers = 0

    @pytest.hookimpl(optionalhook=True)
    def pytest_testnodeready(self) -> None:
        self.workers += 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if not hasattr(report, "budget"):  # a worker has crashed
            return
        part, shared = report.budget["part"], report.budget["shared"]
        self.parts[part] += report.duration
        if part != "slow" and report.when != "teardown":
            self.longest[report.nodeid] += report.duration - sum(shared.values())
            for name, seconds in shared.items():
                self.longest[name] = max(self.longest[name], seconds)

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        others = self.load.others()
        self.parts = {part: self.parts[part] / max(self.workers, 1) for part in BUDGETS if part in self.parts}
        self.over, failing = self.beyond(1.0), self.beyond(SLACK)
        self.excuse = slow_processor(Path("/proc/cpuinfo").read_text(), os.environ)
        if others > SHARE_OF_OTHERS:
            self.excuse = f"other processes took {others:.0%} of the machine"
        if self.over and not failing and not self.excuse:
            self.excuse = f"fast machines differ by up to {SLACK:g} times"
        if failing and not self.excuse and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def beyond(self, slack: float) -> list[str]:
        """What took longer than it may, times a factor."""
        single = [
            f"{name} took {seconds:.1f} s, over {LONGEST:g} s outside the slow part"
            for name, seconds in self.longest.items()
            if seconds > LONGEST * slack
        ]
        return single + [
            f"the {part} tests took {seconds:.1f} s, over their budget of {BUDGETS[part]:g} s"
            for part, seconds in self.parts.items()
            if seconds > BUDGETS[part] * slack
        ]

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        if not self.parts:
            return
        terminalreporter.section("time budget")
        taken = ", ".join(f"{part} {seconds:.1f} of {BUDGETS[part]:g} s" for part, seconds in self.parts.items())
        terminalreporter.line(taken + (f", on {self.workers} workers" if self.workers else ""))
        for line in self.over:
            terminalreporter.line(f"{'over, but only told' if self.excuse else 'FAILED'}: {line}")
        if self.excuse:
            terminalreporter.line(f"no limit is held here: {self.excuse}")


def pytest_configure(config: pytest.Config) -> None:
    """Two halves, since pytest-xdist runs tests in workers and reports in the process that the user started."""
    config.pluginmanager.register(Stopwatch(), "budget-stopwatch")
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Budget(Load()), "budget-held")
