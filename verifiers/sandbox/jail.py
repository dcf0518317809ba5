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
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from verifiers.sandbox import cgroups, seccomp
from verifiers.sandbox.running import finish, reap
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
_SERVED_MIB = 16
"""Size of the scripts of one program that a server runs."""
_LIMIT_NAMES = {
    resource.RLIMIT_AS: "as",
    resource.RLIMIT_CPU: "cpu",
    resource.RLIMIT_NOFILE: "nofile",
    resource.RLIMIT_FSIZE: "fsize",
    resource.RLIMIT_CORE: "core",
    resource.RLIMIT_MEMLOCK: "memlock",
    resource.RLIMIT_MSGQUEUE: "msgqueue",
    resource.RLIMIT_SIGPENDING: "sigpending",
    resource.RLIMIT_NPROC: "nproc",
}
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
        with memory_file(stdin, read_only=True) as given:
            streams = (given, subprocess.PIPE, subprocess.PIPE)
            with self.launch(files, command, streams, limits, filtered) as running:
                result = finish(running.process, began, limits, running.kill)
                report = running.report()
        return _judged(result, report), report

    @contextmanager
    def launch(
        self,
        files: Mapping[str, bytes],
        command: Sequence[str],
        streams: tuple[int, int, int],
        limits: Limits,
        filtered: bool = True,
        server: bool = False,
    ) -> Iterator["Running"]:
        """A jail that is killed, if it still runs, with the context; `streams` as for Popen.

        A `server` sets the limits of its children itself. Its files lie in /srv, and /box is empty and can be written.
        """
        with ExitStack() as stack:
            launcher = stack.enter_context(self._unprivileged(limits))
            where = "/srv" if server else "/box"
            content = {f"{where}/{path}": stack.enter_context(memory_file(data)) for path, data in files.items()}
            status = stack.enter_context(memory_file(b""))
            handed, options = [status, *content.values()], ["--json-status-fd", str(status)]
            if filtered:
                handed.append(stack.enter_context(memory_file(self._filter)))
                options += ["--seccomp", str(handed[-1])]
            view = _view(content, limits.tmp_mib, where, _SERVED_MIB if server else 0)
            limited = [] if server else resource_limits(limits)
            running = Running(
                _start([*launcher, self._bwrap, *options, *view, "--", *limited, *command], streams, handed), status
            )
            stack.callback(running.end)
            yield running

    @contextmanager
    def _unprivileged(self, limits: Limits) -> Iterator[list[str]]:
        """The command in front of bubblewrap's: root's bubblewrap is no jail, its files and sysctls are root's."""
        if os.geteuid() != 0:
            yield []
            return
        with self._uids.one() as uid:
            yield [*cgroups.joining(uid, limits), *_as_user(uid)]


@dataclass(frozen=True, slots=True)
class Running:
    """A jail at work."""

    process: "subprocess.Popen[bytes]"
    status: int

    def report(self) -> dict[str, Any]:
        """What bubblewrap said so far."""
        report: dict[str, Any] = {}
        for line in os.pread(self.status, 1 << 16, 0).splitlines():
            with suppress(ValueError):  # half written
                report |= json.loads(line)
        return report

    def kill(self) -> None:
        """Kill the first process: the kernel kills the rest of its namespace before bubblewrap sees it dead and ends."""
        child = self.report().get("child-pid")
        if child is None:
            self.process.kill()
        elif self.process.poll() is None:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)

    def end(self) -> None:
        """Kill it unless it ended, and wait."""
        if self.process.poll() is None:
            self.kill()
            reap(self.process)


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


def _view(files: Mapping[str, int], tmp_mib: int, folder: str, box_mib: int) -> list[str]:
    """What the jail sees: Python and the libraries, two devices, the files, perhaps a /tmp and a writable /box, no /proc."""
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
    options += ["--symlink", "/tmp", "/dev/shm"]  # one size limit for both
    options += ["--size", str(box_mib << 20), "--tmpfs", "/box"] if box_mib else ["--dir", "/box"]
    for path, descriptor in files.items():
        options += ["--perms", "0444", "--file", str(descriptor), path]
    return [*options, "--remount-ro", "/", "--chdir", folder]


def resource_limits(limits: Limits, processes: bool = True) -> list[str]:
    """The command in front of the program's. Inside the jail, the kernel counts the jail's processes only."""
    wanted = resource_values(limits)
    if not processes:
        wanted.pop(resource.RLIMIT_NPROC)
    return [_PRLIMIT, *(f"--{_LIMIT_NAMES[kind]}={value}" for kind, value in wanted.items()), "--"]


def resource_values(limits: Limits) -> dict[int, int]:
    """By the kernel's number; both as soft and as hard limit."""
    wanted = {
        resource.RLIMIT_AS: limits.memory_mib << 20,
        resource.RLIMIT_CPU: math.ceil(limits.cpu_s),
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_FSIZE: limits.file_mib << 20,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_MEMLOCK: 0,
        resource.RLIMIT_MSGQUEUE: 0,
        resource.RLIMIT_SIGPENDING: _PENDING_SIGNALS,
        resource.RLIMIT_NPROC: limits.processes,
    }
    return {kind: _allowed(kind, value) for kind, value in wanted.items()}


def _allowed(kind: int, value: int) -> int:
    """No more than our own hard limit, which an unprivileged process cannot raise."""
    hard = resource.getrlimit(kind)[1]
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


@contextmanager
def memory_file(content: bytes, read_only: bool = False) -> Iterator[int]:
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


def _start(argv: Sequence[str], streams: tuple[int, int, int], handed: Sequence[int]) -> "subprocess.Popen[bytes]":
    """In our process group: whoever kills that kills the jail, whatever it is doing."""
    stdin, stdout, stderr = streams
    try:
        return subprocess.Popen(argv, stdin=stdin, stdout=stdout, stderr=stderr, pass_fds=handed, env=ENVIRONMENT, cwd="/")
    except OSError as error:
        raise SandboxUnavailable(f"the jail did not start: {error}") from error


def _judged(result: Result, report: Mapping[str, Any]) -> Result:
    """Tell a dead program from a dead jail. Raises SandboxUnavailable."""
    if result.ended is not Ended.EXIT:
        return result
    if "exit-code" not in report:  # bubblewrap writes it only when the command was started
        raise SandboxUnavailable(f"the jail failed: {result.stderr[-500:].decode(errors='replace').strip()}")
    return replace(result, ended=Ended.KILLED) if result.exit_code in _KERNEL_SIGNALS else result
