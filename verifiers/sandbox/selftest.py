"""Shows that the jail holds, on this machine and as this user, before anything is run in it."""

import json
import os
import secrets
import socket
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from verifiers.sandbox.jail import ENVIRONMENT, PYTHON, Jail
from verifiers.sandbox.types import Ended, Limits, Result, SandboxUnavailable

Run = Callable[[Mapping[str, bytes], Sequence[str], bytes, Limits], Result]
_PROBE = Path(__file__).with_name("probe.py")
_LIMITS = Limits(wall_s=30, cpu_s=20, memory_mib=256, processes=8, open_files=32, file_mib=4, tmp_mib=8)
_NAMESPACES = ("ipc", "mnt", "net", "pid", "uts")
"""Whose inode numbers bubblewrap reports; the user namespace shows in what is refused."""
_DENIED = {"EPERM", "EACCES", "EROFS"}
_UNREACHABLE = {"EPERM", "ECONNREFUSED", "ENETUNREACH"}
_ABSENT = {"ENOENT"}
_STUBBORN = b"""
import os, signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
time.sleep(60)
"""
_FLOOD = b"while True: print('x' * 1000)"
_ADVICE = """
The sandbox needs bubblewrap 0.8 and unprivileged user namespaces. What to set, by the kind of machine:
  Debian:        sysctl -w kernel.unprivileged_userns_clone=1
  Ubuntu 24.04:  sysctl -w kernel.apparmor_restrict_unprivileged_userns=0
  RHEL, Fedora:  sysctl -w user.max_user_namespaces=15000
  Docker:        --security-opt seccomp=unconfined --security-opt apparmor=unconfined --security-opt systempaths=unconfined
  Kubernetes:    securityContext: {seccompProfile: {type: Unconfined}, procMount: Unmasked}, and no hardened runtime class
A container that forbids them cannot run the sandbox: run the code verifiers elsewhere. The unsafe mode is no replacement."""

_lock = threading.Lock()
_passed = False


def check(jail: Jail) -> None:
    """Raises SandboxUnavailable unless every property holds. Once it does, not tried again in this process."""
    global _passed
    with _lock:
        if not _passed:
            violations = [f"{violation} ({layer})" for filtered, layer in _LAYERS for violation in _violations(jail, filtered)]
            violations += _kill_violations(jail)
            if violations:
                raise SandboxUnavailable("the sandbox does not hold here: " + "; ".join(violations))
            _passed = True


def check_preforked(run: Run) -> None:
    """Raises SandboxUnavailable unless a preforked jail has every property but those that it gives up."""
    with _bait() as asked:
        files, command, stdin = {"probe.py": _PROBE.read_bytes()}, [PYTHON, "probe.py"], json.dumps(asked).encode()
        result = run(files, command, stdin, _LIMITS)
    if violations := [name for name in _wrong(_seen(result), filtered=True) if name not in _GIVEN_UP]:
        raise SandboxUnavailable("the preforked sandbox does not hold here: " + "; ".join(violations))


_GIVEN_UP = ("it sees other processes", "it sees more than its files", "it writes outside /tmp")
"""By a preforked jail: the first process is the server, whose file is there, and the folder of the program can be written."""
_LAYERS = ((True, "as it will run"), (False, "by namespaces alone"))


def _violations(jail: Jail, filtered: bool) -> list[str]:
    with _bait() as asked:
        files, command, stdin = {"probe.py": _PROBE.read_bytes()}, [PYTHON, "-I", "-S", "probe.py"], json.dumps(asked).encode()
        try:
            result, report = jail.run_and_report(files, command, stdin, _LIMITS, filtered)
        except SandboxUnavailable as error:
            raise SandboxUnavailable(f"{error}\n{_ADVICE}") from error
    return _wrong(_seen(result), filtered) + _shared_namespaces(report)


def _seen(result: Result) -> dict[str, Any]:
    """What the probe says. Raises SandboxUnavailable."""
    try:
        seen: dict[str, Any] = json.loads(result.stdout)
    except ValueError as error:
        message = result.stderr[-500:].decode(errors="replace")
        raise SandboxUnavailable(f"the sandbox's self-test ended by {result.ended} {result.exit_code}: {message}") from error
    return seen


@contextmanager
def _bait() -> Iterator[dict[str, Any]]:
    """What the probe must not get at, as long as it is there: a file, a port, an abstract socket, this process."""
    name = secrets.token_hex(8)
    with (
        tempfile.NamedTemporaryFile() as file,
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.socket(socket.AF_UNIX) as abstract,
    ):
        os.chmod(file.name, 0o644)
        abstract.bind(f"\0{name}")
        abstract.listen()
        own = [file.name, str(_PROBE), "/root", "/home", "/tmp/ray", "/etc/passwd", "/etc/hosts"]
        system = ["/proc/self", "/proc/1/environ", "/proc/sys/kernel", "/sys/kernel", "/run", "/var", "/dev/tty", "/dev/kmsg"]
        yield {
            "unreadable": own + system,
            "port": server.getsockname()[1],
            "abstract": name,
            "outside_pid": os.getpid(),
            "memory": _LIMITS.memory_mib << 20,
            "processes": _LIMITS.processes,
            "file": _LIMITS.file_mib << 20,
            "tmp_mib": _LIMITS.tmp_mib,
        }


def _wrong(seen: Mapping[str, Any], filtered: bool) -> list[str]:
    """One line for each property that does not hold."""
    limits = {
        "AS": _LIMITS.memory_mib << 20,
        "CPU": _LIMITS.cpu_s,
        "NPROC": _LIMITS.processes,
        "NOFILE": _LIMITS.open_files,
        "FSIZE": _LIMITS.file_mib << 20,
    }
    properties = {
        "it runs as root": seen["uid"] == 0,
        "it sees other processes": seen["pid"] != 1 or seen["kill"] != "ESRCH",
        "it has more environment": not set(seen["environment"]) <= {*ENVIRONMENT, "PWD", "LC_CTYPE"},
        "it inherits descriptors": seen["descriptors"] != [0, 1, 2],
        "it sees more than its files": seen["box"] != ["probe.py"] or not _ROOT.issuperset(seen["root"]),
        "it reads the host's files": not _ABSENT.issuperset(seen["read"].values()),
        "it writes outside /tmp": not _DENIED.issuperset([*seen["write"].values(), *seen["overwrite"].values()]),
        "it has a network": not _UNREACHABLE.issuperset([seen["tcp"], seen["internet"], seen["unix"]]),
        "it makes user namespaces": seen["user_namespace"] not in ("EPERM", "ENOSPC"),
        "it mounts": seen["mount"] != "EPERM",
        "a resource limit is not set": any(not 0 <= seen["limits"][name] <= most for name, most in limits.items()),
        "memory has no limit": seen["memory"] != "MemoryError",
        "processes have no limit": seen["children"] >= limits["NPROC"],
        "/tmp or /dev/shm has no limit": (seen["tmp"], seen["shm"]) != ("ENOSPC", "ENOSPC"),
        "the size of files has no limit": seen["file"] != "EFBIG",
        "the system call filter is not in force": filtered and seen["tcp"] != "EPERM",
    }
    return [name for name, violated in properties.items() if violated]


_ROOT = frozenset({"dev", "lib", "lib64", "tmp", "usr", "box"})


def _shared_namespaces(report: Mapping[str, Any]) -> list[str]:
    ours = {name: os.stat(f"/proc/self/ns/{name}").st_ino for name in _NAMESPACES}
    return [f"it shares our {name} namespace" for name in _NAMESPACES if report.get(f"{name}-namespace") in (None, ours[name])]


def _kill_violations(jail: Jail) -> list[str]:
    stubborn = _run(jail, _STUBBORN, Limits(wall_s=0.3))
    flood = _run(jail, _FLOOD, Limits(output_bytes=10_000))
    violations = {
        "its processes outlive the deadline": stubborn.ended is not Ended.TIMEOUT or stubborn.wall_s > 5,
        "output has no limit": flood.ended is not Ended.OUTPUT_LIMIT or len(flood.stdout) != 10_000,
    }
    return [name for name, violated in violations.items() if violated]


def _run(jail: Jail, program: bytes, limits: Limits) -> Result:
    return jail.run({"main.py": program}, [PYTHON, "-I", "-S", "main.py"], b"", limits)
