"""The jail: bubblewrap as an unprivileged uid, with limits and a system call filter."""

import fcntl
import json
import math
import os
import resource
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from verifiers.sandbox import cgroups, seccomp
from verifiers.sandbox.running import finish
from verifiers.sandbox.types import Ended, Limits, Result, SandboxUnavailable
from verifiers.sandbox.uids import Uids

PYTHON = "/usr/bin/python3"
"""The system's: a platform's own interpreter often lies in a home directory, which the jail's uid cannot read, and among
site-packages, which are none of the program's business."""
ENVIRONMENT = {"LANG": "C.UTF-8", "PATH": "/usr/bin", "HOME": "/tmp"}
_SETPRIV, _PRLIMIT = "/usr/bin/setpriv", "/usr/bin/prlimit"
_NAMESPACES = ("user", "pid", "net", "ipc", "uts")
"""Beside the mount namespace, which bubblewrap always makes."""
_DEVICES = ("/dev/null", "/dev/urandom")
_PENDING_SIGNALS = 256
"""And timers, which are memory of the kernel's."""
_KERNEL_SIGNALS = range(129, 193)
"""Exit codes of bubblewrap for a command that died of a signal."""


class Jail:
    """A sandbox of which nobody knows yet whether it holds. May be used by many threads at once."""

    def __init__(self) -> None:
        """Raises SandboxUnavailable when a program is missing."""
        self._bwrap = _find_programs()
        self._uids = Uids()
        self._filter = seccomp.program()

    def run(self, files: Mapping[str, bytes], command: Sequence[str], stdin: bytes, limits: Limits) -> Result:
        """As Sandbox.run."""
        return self.run_and_report(files, command, stdin, limits)[0]

    def run_and_report(
        self, files: Mapping[str, bytes], command: Sequence[str], stdin: bytes, limits: Limits, filtered: bool = True
    ) -> tuple[Result, dict[str, Any]]:
        """The result, and what bubblewrap says about it: its namespaces' inode numbers among others.

        Without `filtered`, the namespaces stand alone.
        """
        began = time.monotonic()
        with ExitStack() as stack:
            launcher = stack.enter_context(self._unprivileged(limits))
            content = {f"/box/{path}": stack.enter_context(_memory_file(data)) for path, data in files.items()}
            status = stack.enter_context(_memory_file(b""))
            handed, options = [status, *content.values()], ["--json-status-fd", str(status)]
            if filtered:
                handed.append(stack.enter_context(_memory_file(self._filter)))
                options += ["--seccomp", str(handed[-1])]
            view, limited = _view(content, limits.tmp_mib), resource_limits(limits)
            argv = [*launcher, self._bwrap, *options, *view, "--", *limited, *command]
            process = _start(argv, stack.enter_context(_memory_file(stdin, read_only=True)), handed)
            result = finish(process, began, limits, lambda: _kill(process, status))
            report = _read_status(status)
        return _judged(result, report), report

    @contextmanager
    def _unprivileged(self, limits: Limits) -> Iterator[list[str]]:
        """The command in front of bubblewrap's: root's bubblewrap is no jail, its files and sysctls are root's."""
        if os.geteuid() != 0:
            yield []
            return
        with self._uids.one() as uid:
            yield [*cgroups.joining(uid, limits), *_as_user(uid)]


def _as_user(uid: int) -> list[str]:
    return [_SETPRIV, f"--reuid={uid}", f"--regid={uid}", "--clear-groups", "--no-new-privs", "--"]


def _find_programs() -> str:
    """The path of bubblewrap. Raises SandboxUnavailable."""
    if os.uname().machine != "x86_64":
        raise SandboxUnavailable(f"the sandbox's system call filter knows x86_64 only, not {os.uname().machine}")
    found = [Path(directory, "bwrap") for directory in os.get_exec_path() if os.access(Path(directory, "bwrap"), os.X_OK)]
    if not found:
        raise SandboxUnavailable(
            "bubblewrap is missing (no bwrap on the PATH): apt install bubblewrap, or dnf install bubblewrap"
        )
    for path, package in ((_SETPRIV, "util-linux"), (_PRLIMIT, "util-linux"), (PYTHON, "python3")):
        if not os.access(path, os.X_OK):
            raise SandboxUnavailable(f"the sandbox needs {path}: apt install {package}")
    return str(found[0])


def _view(files: Mapping[str, int], tmp_mib: int) -> list[str]:
    """What the jail sees: Python and the libraries, two devices, the files, perhaps a /tmp, and no /proc."""
    options = [f"--unshare-{name}" for name in _NAMESPACES]
    options += ["--disable-userns", "--die-with-parent", "--new-session", "--as-pid-1", "--hostname", "jail"]
    for path in ("/usr/lib", "/usr/lib64", "/lib", "/lib64", _PRLIMIT, PYTHON):
        if path.startswith("/lib") and os.path.islink(path):
            options += ["--symlink", "usr" + path, path]
        elif os.path.exists(path):
            options += ["--ro-bind", os.path.realpath(path), path]
    for path in _DEVICES:
        options += ["--dev-bind", path, path]
    options += ["--size", str(tmp_mib << 20), "--tmpfs", "/tmp"] if tmp_mib else ["--dir", "/tmp"]
    options += ["--symlink", "/tmp", "/dev/shm", "--dir", "/box"]  # one size limit for both
    for path, descriptor in files.items():
        options += ["--perms", "0444", "--file", str(descriptor), path]
    return [*options, "--remount-ro", "/", "--chdir", "/box"]


def resource_limits(limits: Limits, processes: bool = True) -> list[str]:
    """The command in front of the program's. Inside the jail, the kernel counts the jail's processes only."""
    wanted = {
        "as": (resource.RLIMIT_AS, limits.memory_mib << 20),
        "cpu": (resource.RLIMIT_CPU, math.ceil(limits.cpu_s)),
        "nofile": (resource.RLIMIT_NOFILE, limits.open_files),
        "fsize": (resource.RLIMIT_FSIZE, limits.file_mib << 20),
        "core": (resource.RLIMIT_CORE, 0),
        "memlock": (resource.RLIMIT_MEMLOCK, 0),
        "msgqueue": (resource.RLIMIT_MSGQUEUE, 0),
        "sigpending": (resource.RLIMIT_SIGPENDING, _PENDING_SIGNALS),
    }
    if processes:
        wanted["nproc"] = (resource.RLIMIT_NPROC, limits.processes)
    return [_PRLIMIT, *(f"--{name}={_allowed(kind, value)}" for name, (kind, value) in wanted.items()), "--"]


def _allowed(kind: int, value: int) -> int:
    """No more than our own hard limit, which an unprivileged process cannot raise."""
    hard = resource.getrlimit(kind)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


@contextmanager
def _memory_file(content: bytes, read_only: bool = False) -> Iterator[int]:
    """A file that exists nowhere, at its beginning."""
    descriptor = os.memfd_create("jail", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        with open(descriptor, "wb", closefd=False) as file:
            file.write(content)
        os.lseek(descriptor, 0, os.SEEK_SET)
        if read_only:
            seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, seals)
        yield descriptor
    finally:
        os.close(descriptor)


def _start(argv: Sequence[str], stdin: int, handed: Sequence[int]) -> "subprocess.Popen[bytes]":
    """In our process group: whoever kills that kills the jail, whatever it is doing."""
    try:
        return subprocess.Popen(
            argv, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE, pass_fds=handed, env=ENVIRONMENT, cwd="/"
        )
    except OSError as error:
        raise SandboxUnavailable(f"the jail did not start: {error}") from error


def _kill(process: "subprocess.Popen[bytes]", status: int) -> None:
    """Kill the jail's first process: the kernel kills the rest of its namespace before bubblewrap sees it dead and ends."""
    child = _read_status(status).get("child-pid")
    if child is None:
        process.kill()
    elif process.poll() is None:
        with suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)


def _read_status(status: int) -> dict[str, Any]:
    report: dict[str, Any] = {}
    for line in os.pread(status, 1 << 16, 0).splitlines():
        with suppress(ValueError):  # half written
            report |= json.loads(line)
    return report


def _judged(result: Result, report: Mapping[str, Any]) -> Result:
    """Tell a dead program from a dead jail. Raises SandboxUnavailable."""
    if result.ended is not Ended.EXIT:
        return result
    if "exit-code" not in report:  # bubblewrap writes it only when the command was started
        raise SandboxUnavailable(f"the jail failed: {result.stderr[-500:].decode(errors='replace').strip()}")
    return replace(result, ended=Ended.KILLED) if result.exit_code in _KERNEL_SIGNALS else result
