"""Runs inside the jail: tries what must not work and prints what happened as JSON. No import of this project: it is not there."""

import ctypes
import errno
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import Callable
from typing import Any

_CLONE_NEWUSER = 0x10000000


def attempt(action: Callable[..., object], *arguments: object) -> str:
    """'done', or the name of the error."""
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode.get(error.errno or 0, str(error))
    except MemoryError:
        return "MemoryError"
    return "done"


def system_call(name: str, *arguments: object) -> None:
    """Raises OSError."""
    if getattr(ctypes.CDLL(None, use_errno=True), name)(*arguments) == -1:
        raise OSError(ctypes.get_errno(), name)


def create(path: str) -> None:
    """A file at the path."""
    with open(path, "x"):
        os.unlink(path)


def fill(path: str, size: int) -> str:
    """Write files of a MiB to the folder until it is full or `size` MiB are written; the error, or 'done'."""
    written: list[str] = []

    def write() -> None:
        for number in range(size):
            written.append(f"{path}/{number}")
            with open(written[-1], "wb") as file:
                file.write(bytes(1 << 20))

    try:
        return attempt(write)
    finally:
        for name in written:
            os.unlink(name)


def reach(family: int, address: Any) -> None:
    """Connect, or raise OSError."""
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        client.connect(address)


def send(address: tuple[str, int]) -> None:
    """One datagram, or raise OSError."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.sendto(b"x", address)


def fork_until_refused(most: int) -> int:
    """How many children could be had."""
    children: list[int] = []
    try:
        while len(children) < most:
            child = os.fork()
            if child == 0:
                signal.pause()
            children.append(child)
    except OSError:
        pass
    for child in children:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    return len(children)


def open_descriptors(limit: int) -> list[int]:
    """All of them, by trying."""
    return [number for number in range(limit) if attempt(os.fstat, number) == "done"]


def open_to_write(path: str) -> None:
    """Changes nothing."""
    with open(path, "r+b"):
        pass


def write_beyond(path: str, size: int) -> None:
    """A byte behind so many."""
    with open(path, "wb") as file:
        file.truncate(size + 1)


def main(asked: dict[str, Any]) -> dict[str, Any]:
    """What happened to each attempt."""
    kinds = ("AS", "CPU", "NPROC", "NOFILE", "FSIZE")
    limits = {kind: resource.getrlimit(getattr(resource, f"RLIMIT_{kind}"))[1] for kind in kinds}
    return {
        "uid": os.getuid(),
        "pid": os.getpid(),
        "environment": sorted(os.environ),
        "descriptors": open_descriptors(limits["NOFILE"]),
        "root": sorted(os.listdir("/")),
        "box": sorted(os.listdir("/box")),
        "read": {path: attempt(os.stat, path) for path in asked["unreadable"]},
        "write": {path: attempt(create, f"{path}/probe") for path in ("/", "/box", "/usr/lib", "/dev", "/usr/bin")},
        "overwrite": {path: attempt(open_to_write, path) for path in (sys.executable, __file__)},
        "tcp": attempt(reach, socket.AF_INET, ("127.0.0.1", asked["port"])),
        "internet": attempt(send, ("192.0.2.1", 53)),
        "unix": attempt(reach, socket.AF_UNIX, "\0" + asked["abstract"]),
        "kill": attempt(os.kill, asked["outside_pid"], 0),
        "user_namespace": attempt(system_call, "unshare", _CLONE_NEWUSER),
        "mount": attempt(system_call, "mount", b"none", b"/tmp", b"tmpfs", 0, None),
        "limits": limits,
        "memory": attempt(bytearray, asked["memory"]),
        "children": fork_until_refused(asked["processes"]),
        "tmp": fill("/tmp", asked["tmp_mib"] + 1),
        "shm": fill("/dev/shm", asked["tmp_mib"] + 1),
        "file": attempt(write_beyond, "/tmp/big", asked["file"]),
    }


if __name__ == "__main__":
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    json.dump(main(json.load(sys.stdin)), sys.stdout)
