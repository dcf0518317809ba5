"""The parent's side of one worker process: start, ask with deadlines, kill."""

import os
import select
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from typing import Any

from verifiers import wire
from verifiers.types import Verdict

START_TIMEOUT_S = 120.0
"""Wall seconds for the interpreter's start, and again for loading a verifier (a busy disk may be slow)."""
WALL_FACTOR, WALL_MARGIN_S = 3.0, 10.0
"""A worker that neither answers nor uses up its CPU time is given up after WALL_FACTOR * timeout + WALL_MARGIN_S."""
_POLL_S = 0.25
_TICKS = os.sysconf("SC_CLK_TCK")


class WorkerLost(Exception):
    """The process ended, or sent what is no message."""


class WorkerNotStarted(Exception):
    """The process, or the verifier in it, was not ready in time."""


class WorkerHung(Exception):
    """Neither an answer nor CPU time used up: the machine or the verifier waits for something."""


class CpuTimeUsedUp(Exception):
    """The judgement needs more CPU seconds than it may have; `blame_response` is the verifier's `timeout_is_failure`."""

    def __init__(self, blame_response: bool) -> None:
        self.blame_response = blame_response


class WorkerProcess:
    """One running worker. Used by one thread at a time, but `kill` may come from any."""

    def __init__(self, specs: dict[str, tuple[str, dict[str, Any]]], memory_mib: int) -> None:
        """Start the process without waiting for it. Raises WorkerNotStarted."""
        self._specs = specs
        self.judged = 0
        """Judgements begun."""
        self._decoder = wire.Decoder()
        self._channel, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-P", "-m", "verifiers.worker", str(theirs.fileno()), str(os.getpid()), str(memory_mib)]
            try:
                self._process = subprocess.Popen(
                    command,
                    pass_fds=[theirs.fileno()],
                    env=_environment(),
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                self._channel.close()
                raise WorkerNotStarted(str(error)) from error

    def wait_until_ready(self) -> None:
        """Raises WorkerLost or WorkerNotStarted."""
        self._send(wire.encode({"specs": self._specs}))
        self._receive_at_start()

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    @property
    def pid(self) -> int:
        return self._process.pid

    def judge(self, request: bytes, timeout_s: float, tasks: int) -> list[Verdict]:
        """The answers to an encoded request of so many tasks. After an exception the worker must be killed.

        Raises WorkerNotStarted, WorkerLost, WorkerHung, CpuTimeUsedUp (`timeout_s` CPU seconds since it said that it began).
        """
        self._send(request)
        message = self._receive_at_start()
        if not (isinstance(message, dict) and "began" in message):  # loading failed: these are the verdicts
            return _verdicts(message, tasks)
        self.judged += 1
        began, cpu_at_begin = time.monotonic(), self._cpu_seconds()
        while True:
            cpu_left = timeout_s - (self._cpu_seconds() - cpu_at_begin)
            wall_left = WALL_FACTOR * timeout_s + WALL_MARGIN_S - (time.monotonic() - began)
            answer = self._receive(max(min(cpu_left, wall_left, _POLL_S), 0.0))
            if answer is not None:
                return _verdicts(answer, tasks)
            if cpu_left <= 0:
                raise CpuTimeUsedUp(message["began"])
            if wall_left <= 0:
                raise WorkerHung

    def kill(self) -> None:
        """SIGKILL to the worker and to what it started. Returns within seconds in any case."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with suppress(subprocess.TimeoutExpired):  # uninterruptible in the kernel: nobody can do more
            self._process.wait(timeout=5)
        self._channel.close()

    def _send(self, data: bytes) -> None:
        self._channel.settimeout(START_TIMEOUT_S)
        try:
            self._channel.sendall(data)
        except TimeoutError as error:
            raise WorkerNotStarted("it does not read its requests") from error
        except OSError as error:
            raise WorkerLost(str(error)) from error

    def _receive_at_start(self) -> Any:
        until = time.monotonic() + START_TIMEOUT_S
        while (left := until - time.monotonic()) > 0:
            if (message := self._receive(min(left, _POLL_S))) is not None:
                return message
        raise WorkerNotStarted(f"not ready within {START_TIMEOUT_S:g} s")

    def _receive(self, timeout_s: float) -> Any:
        """The next message, or None when there is none within the time."""
        until = time.monotonic() + timeout_s
        try:
            while (message := self._decoder.next()) is None:
                readable, _, _ = select.select([self._channel], [], [], max(until - time.monotonic(), 0.0))
                if not readable:
                    if not self.alive:  # its children may hold the channel open
                        raise WorkerLost(f"exit status {self._process.returncode}")
                    return None
                data = self._channel.recv(2**20, socket.MSG_DONTWAIT)
                if not data:
                    raise WorkerLost("it closed the channel")
                self._decoder.feed(data)
            return message
        except (OSError, ValueError) as error:  # ValueError: no message, or `kill` from another thread closed the channel
            raise WorkerLost(str(error)) from error

    def _cpu_seconds(self) -> float:
        """User and system time of the worker and of its ended children."""
        try:
            with open(f"/proc/{self._process.pid}/stat", encoding="utf-8", errors="replace") as file:
                fields = file.read().rpartition(")")[2].split()
        except OSError as error:
            raise WorkerLost(str(error)) from error
        return sum(map(int, fields[11:15])) / _TICKS


def _verdicts(message: Any, tasks: int) -> list[Verdict]:
    try:
        verdicts = [wire.verdict_from_wire(value) for value in message["verdicts"]]
    except (TypeError, ValueError, KeyError) as error:
        raise WorkerLost(f"it answered what is no verdict: {error}") from error
    if len(verdicts) != tasks:
        raise WorkerLost(f"it answered {len(verdicts)} verdicts for {tasks} tasks")
    return verdicts


def _environment() -> dict[str, str]:
    """Nothing of the parent's environment (tokens, RAY_*, CUDA_*) but what importing the same modules needs."""
    path = os.pathsep.join(os.path.abspath(entry) for entry in sys.path)
    return {"PATH": os.environ.get("PATH", os.defpath), "LANG": "C.UTF-8", "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
