"""Limits on a jail as a whole, where this process may make control groups; elsewhere nothing.

One group for each uid, made at its first jail and used again by its next: making one takes as long as a third of a jail.
"""

import atexit
import os
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path

from verifiers.sandbox.types import Limits

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_OVERHEAD_PROCESSES = 2
"""Bubblewrap, outside and while it prepares."""
_JOIN = 'n=$1; shift; while [ "$n" -gt 0 ]; do echo $$ > "$1" || exit 125; shift; n=$((n-1)); done; exec "$@"'


def joining(uid: int, limits: Limits) -> list[str]:
    """The command in front of a jail's that puts it into its groups, with these limits; empty where there are none."""
    groups = _groups(uid)
    memory, processes = (limits.memory_mib + limits.tmp_mib) << 20, limits.processes + _OVERHEAD_PROCESSES
    values = {"memory.limit_in_bytes": memory, "memory.max": memory, "memory.swap.max": 0, "pids.max": processes}
    for group in groups:
        for file, value in values.items():
            with suppress(OSError), open(group / file, "r+b", buffering=0) as limit:  # most are of another version or controller
                limit.write(str(value).encode())
    if not groups:
        return []
    return ["/bin/sh", "-c", _JOIN, "sh", str(len(groups)), *(str(group / "cgroup.procs") for group in groups)]


@cache
def _groups(uid: int) -> Sequence[Path]:
    groups = []
    for parent in parents():
        group = parent / f"tower-rl-jail-{uid}"
        with suppress(OSError):
            group.mkdir(exist_ok=True)
            atexit.register(_remove, group)
            groups.append(group)
    return groups


def _remove(group: Path) -> None:
    with suppress(OSError):
        group.rmdir()


@cache
def parents() -> Sequence[Path]:
    """Where groups with a memory or a process limit can be made: one directory in version 2, up to two in version 1."""
    own = _memberships()
    if (_ROOT / "cgroup.controllers").exists():  # version 2: a group with processes has no groups with limits below it
        group = own.get("", "/")
        parent = _ROOT / group.lstrip("/") if group == "/" else (_ROOT / group.lstrip("/")).parent
        candidates = [parent] if {"memory", "pids"} <= _words(parent / "cgroup.subtree_control") else []
    else:
        candidates = [_ROOT / name / own[name].lstrip("/") for name in ("memory", "pids") if name in own]
    return [path for path in candidates if os.access(path, os.W_OK)]


def _memberships() -> dict[str, str]:
    """Controller to our group; version 2 has the controller ''."""
    try:
        lines = _MEMBERSHIP.read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    entries = [line.split(":", 2) for line in lines]
    return {name: group for _, names, group in entries for name in names.split(",")}


def _words(path: Path) -> set[str]:
    try:
        return set(path.read_text(encoding="utf-8").split())
    except OSError:
        return set()
