"""A sandbox, and a look for what runs leave on the host."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from verifiers.sandbox import Sandbox


@pytest.fixture(scope="session")
def sandbox() -> Sandbox:
    return Sandbox()


@pytest.fixture
def no_traces(sandbox: Sandbox) -> Iterator[None]:
    """After the test there is no process, zombie, file, mount, descriptor or IPC object that was not there before."""
    before = _host_state()
    yield
    assert _host_state() == before
    uids = set(sandbox._jail._uids._claims) - {os.getuid()}
    assert not [entry for entry in Path("/proc").glob("[0-9]*") if _owner(entry) in uids], "processes"
    assert not [path for folder in ("/tmp", "/dev/shm", "/var/tmp") for path in Path(folder).iterdir() if _owner(path) in uids]


def _host_state() -> tuple[object, ...]:
    return (
        sorted(path.parent.name for path in Path("/proc").glob("[0-9]*/stat") if _parent(path) == os.getpid()),
        sorted(target for path in Path("/proc/self/fd").iterdir() if not (target := _target(path)).startswith("socket:")),
        Path("/proc/self/mountinfo").read_text(),
        Path("/proc/sysvipc/shm").read_text().count("\n"),
        Path("/proc/sysvipc/msg").read_text().count("\n"),
    )


def _target(descriptor: Path) -> str:
    """Without the sockets, by which a process claims uids for as long as it lives."""
    try:
        return os.readlink(descriptor)
    except FileNotFoundError:  # that of the listing itself
        return ""


def _parent(stat: Path) -> int | None:
    try:
        return int(stat.read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None


def _owner(path: Path) -> int | None:
    try:
        return path.stat().st_uid
    except FileNotFoundError:
        return None
