"""Jails that are used again: one Python in each, which forks for every program."""

import json
import os
import socket
import subprocess
import threading
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path

from verifiers.sandbox import selftest
from verifiers.sandbox.jail import PYTHON, Jail, memory_file, resource_values
from verifiers.sandbox.running import collect
from verifiers.sandbox.types import DEFAULTS, Ended, Limits, Result, SandboxUnavailable

_SERVER = Path(__file__).with_name("forkserver.py")
_START_S = 30.0
_TRIES = 3


class _NotBegun(Exception):
    """The server was gone before it took the program."""


class PreforkedSandbox:
    """Sandbox's interface for Python scripts, several times as fast and with less between one program and the next.

    Programs that follow each other share a jail: its uid, its namespaces, the layout of its memory and the seed of its hashes.
    They never run at the same time, and a jail in which a program left a process or a file, was killed or ran too long is given
    up. So a later program meets an earlier one only through a hole in the kernel or in Python's own process. The program sees and
    may write the script's folder, and its parent, which it cannot trace or signal (system call filter, first process of a pid
    namespace). May be used by many threads at once.
    """

    def __init__(self) -> None:
        """Raises SandboxUnavailable unless a jail can be made and every property but those holds."""
        self._jail = Jail()
        self._lock = threading.Lock()
        self._idle: dict[Limits, list[_Server]] = defaultdict(list)
        # The kernel ends a jail with the thread that started it, so one thread that stays starts them all.
        self._starter = ThreadPoolExecutor(1, "jail starter")
        selftest.check(self._jail)
        selftest.check_preforked(self.run)

    def run(self, files: Mapping[str, bytes], command: Sequence[str], stdin: bytes = b"", limits: Limits = DEFAULTS) -> Result:
        """Run `[PYTHON, ..., SCRIPT, *arguments]` in /box; options before the script are those of the server, whatever they say.

        Raises SandboxUnavailable when no jail could be made this time, ValueError for a command of another form.
        """
        place = next((i for i, word in enumerate(command) if word in files), None)
        if command[0] != PYTHON or place is None:
            raise ValueError(f"a preforked sandbox runs {PYTHON} with one of the files, not {' '.join(command)}")
        for _ in range(_TRIES):
            server = self._take(limits)
            try:
                return server.run(files, command[place:], stdin)
            except _NotBegun:  # it died while it was idle
                continue
            finally:
                self._put_back(server)
        raise SandboxUnavailable(f"{_TRIES} preforked jails one after the other died before the program began")

    def _put_back(self, server: "_Server") -> None:
        if server.clean:
            with self._lock:
                self._idle[server.limits].append(server)
        else:
            server.close()

    def _take(self, limits: Limits) -> "_Server":
        with self._lock:
            idle = self._idle[limits]
            while idle:
                if (server := idle.pop()).alive():
                    return server
                server.close()
        server = self._starter.submit(_Server, self._jail, limits).result()
        server.wait_until_ready()
        return server

    def close(self) -> None:
        """End all idle jails; those at work end with their program."""
        with self._lock:
            for server in [server for servers in self._idle.values() for server in servers]:
                server.close()
            self._idle.clear()


class _Server:
    """One jail with its forking Python. `clean` says whether it may be used again."""

    def __init__(self, jail: Jail, limits: Limits) -> None:
        self.limits, self.clean = limits, False
        self._stack = ExitStack()
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._stack.callback(self._control.close)
        self._control.settimeout(_START_S)
        self._errors = self._stack.enter_context(memory_file(b""))
        files, command = {_SERVER.name: _SERVER.read_bytes()}, [PYTHON, "-s", "-E", "-B", _SERVER.name]
        with theirs:
            streams = (theirs.fileno(), subprocess.DEVNULL, self._errors)
            self._running = self._stack.enter_context(jail.launch(files, command, streams, limits, server=True))

    def wait_until_ready(self) -> None:
        """Raises SandboxUnavailable with what the jail says."""
        if self._answer() != b"ready":
            message = os.pread(self._errors, 500, 0).decode(errors="replace").strip()
            self.close()
            raise SandboxUnavailable(f"the preforked jail did not start: {message}")

    def alive(self) -> bool:
        """Whether it still runs."""
        return self._running.process.poll() is None

    def run(self, files: Mapping[str, bytes], command: Sequence[str], stdin: bytes) -> Result:
        """A program in a child of the server."""
        began, limits, self.clean = time.monotonic(), self.limits, False
        request = {
            "script": command[0],
            "arguments": command[1:],
            "files": {name: len(content) for name, content in files.items()},
            "limits": {str(kind): value for kind, value in resource_values(limits).items()},
        }
        with ExitStack() as stack:
            contents = stack.enter_context(memory_file(b"".join(files.values())))
            given = stack.enter_context(memory_file(stdin, read_only=True))
            streams, theirs = zip(*(os.pipe() for _ in range(2)), strict=True)
            for stream in streams:
                stack.callback(os.close, stream)
            try:
                socket.send_fds(self._control, [json.dumps(request).encode()], [contents, given, *theirs])
            except OSError as error:
                raise _NotBegun from error
            finally:
                for stream in theirs:
                    os.close(stream)
            if self._answer() != b"begun":
                raise _NotBegun
            deadline, end = began + limits.wall_s, self._control.fileno()
            ended, outputs = collect(streams, end, deadline, limits.output_bytes, self._running.kill)
        status, self.clean = json.loads(self._answer() or b"[9, false]") if ended is Ended.EXIT else (None, False)
        if status is not None and os.WIFSIGNALED(status):
            ended = Ended.KILLED
        code = None if status is None else 128 + os.WTERMSIG(status) if ended is Ended.KILLED else os.WEXITSTATUS(status)
        return Result(ended, code, *outputs, time.monotonic() - began)

    def _answer(self) -> bytes:
        """The server's next word; nothing when it is gone."""
        with suppress(OSError):
            return self._control.recv(1 << 12)
        return b""

    def close(self) -> None:
        """End the jail and all in it."""
        self._stack.close()
