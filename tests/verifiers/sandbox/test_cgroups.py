"""verifiers.sandbox.cgroups: where groups are looked for in both versions, and what they stop."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from verifiers.sandbox import PYTHON, Ended, Limits, Sandbox, cgroups

LIMITS = Limits(memory_mib=100, tmp_mib=28)


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """A made-up one: its files, and the groups we are in."""

    def make(memberships: str, **files: str) -> Path:
        membership = tmp_path / "membership"
        membership.write_text(memberships)
        for name, content in files.items():
            path = tmp_path / name.replace("__", "/").replace("_", ".")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(content)
        monkeypatch.setattr(cgroups, "_ROOT", tmp_path)
        monkeypatch.setattr(cgroups, "_MEMBERSHIP", membership)
        monkeypatch.setattr(cgroups.atexit, "register", lambda *_: None)
        cgroups.parent.cache_clear()
        cgroups._group.cache_clear()
        return tmp_path

    yield make
    cgroups.parent.cache_clear()
    cgroups._group.cache_clear()


def test_version_1(machine: Callable[..., Path]) -> None:
    root = machine("5:cpu,memory:/own\n3:pids:/\n0::/x\n", memory__own__x="")
    assert cgroups.parent() == root / "memory/own"


def test_version_2_makes_siblings(machine: Callable[..., Path]) -> None:
    root = machine("0::/slice/own\n", cgroup_controllers="", slice__cgroup_subtree__control="", slice__own__x="")
    assert cgroups.parent() is None  # no controllers for the slice's groups
    (root / "slice/cgroup.subtree_control").write_text("cpu memory pids\n")
    cgroups.parent.cache_clear()
    assert cgroups.parent() == root / "slice"


def test_limits_are_written_and_joined(machine: Callable[..., Path]) -> None:
    group = machine("5:memory:/\n", memory__x="") / "memory/tower-rl-jail-7"
    group.mkdir()
    (group / "memory.limit_in_bytes").write_text("0")
    assert cgroups.joining(7, LIMITS)[-1] == str(group / "cgroup.procs")
    assert (group / "memory.limit_in_bytes").read_text() == str(128 << 20)


def test_without_cgroups(machine: Callable[..., Path]) -> None:
    machine("")
    assert cgroups.joining(7, LIMITS) == []


@pytest.mark.skipif(os.geteuid() != 0 or not cgroups.parent(), reason="no cgroups to make here")
def test_all_processes_together_have_the_memory_of_one(sandbox: Sandbox, no_traces: None) -> None:
    program = b"""
import os, time
for _ in range(8):
    if os.fork() == 0:
        held = bytearray(os.urandom(1)) * (40 << 20)
        time.sleep(3)
time.sleep(2)
dead = 0
while os.waitpid(-1, os.WNOHANG)[0]:
    dead += 1
print(dead)
"""
    result = sandbox.run({"main.py": program}, [PYTHON, "main.py"], limits=Limits(memory_mib=128, tmp_mib=0))
    assert result.ended is Ended.KILLED or int(result.stdout) >= 4, result
