"""A limit on the memory of a jail as a whole, where this process may make control groups; elsewhere nothing.

One group for each uid, made at its first jail and used again by its next. The number of processes needs no group: the kernel
counts RLIMIT_NPROC for the whole jail.
"""

import atexit
import os
from contextlib import suppress
from functools import cache
from pathlib import Path

from verifiers.sandbox.types import Limits

_ROOT = Path("/sys/fs/cgroup")
_MEMBERSHIP = Path("/proc/self/cgroup")
_JOIN = 'echo $$ > "$1" && shift && exec "$@"'


def joining(uid: int, limits: Limits) -> list[str]:
    """The command in front of a jail's that puts it into its group, with these limits; empty where there is none."""
    if (group := _group(uid)) is None:
        return []
    memory = (limits.memory_mib + limits.tmp_mib) << 20
    for file, value in (("memory.limit_in_bytes", memory), ("memory.max", memory), ("memory.swap.max", 0)):
        with suppress(OSError), open(group / file, "r+b", buffering=0) as limit:  # not there in the other version of cgroups
            limit.write(str(value).encode())
    return ["/bin/sh", "-c", _JOIN, "sh", str(group / "cgroup.procs")]


@cache
def _group(uid: int) -> Path | None:
    if (above := parent()) is None:
        return None
    group = above / f"tower-rl-jail-{uid}"
    try:
        group.mkdir(exist_ok=True)
    except OSError:
        return None
    atexit.register(_remove, group)
    return group


def _remove(group: Path) -> None:
    with suppress(OSError):
        group.rmdir()


@cache
def parent() -> Path | None:
    """Where groups with a limit on memory can be made."""
    own = _memberships()
    if not (_ROOT / "cgroup.controllers").exists():  # version 1
        found = _ROOT / "memory" / own["memory"].lstrip("/") if "memory" in own else None
    else:  # in version 2, a group with processes has no groups with limits below it: beside ours, unless we are at the top
        group = _ROOT / own.get("", "/").lstrip("/")
        found = group if group == _ROOT else group.parent
        found = found if "memory" in _words(found / "cgroup.subtree_control") else None
    return found if found is not None and os.access(found, os.W_OK) else None


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
