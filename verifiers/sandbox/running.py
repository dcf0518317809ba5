"""One child process: its output with a cap, its deadline, its death."""

import os
import select
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from verifiers.sandbox.types import Ended, Limits, Result

_CHUNK = 1 << 16
_KILL_S = 5.0


@dataclass(slots=True)
class _Output:
    """stdout and stderr as they come, up to a common size."""

    left: int
    streams: dict[int, bytearray]
    full: bool = field(default=False)

    def read(self, stream: int) -> bool:
        """One read. False when there is nothing more, now or ever."""
        try:
            chunk = os.read(stream, _CHUNK)
        except BlockingIOError:
            return False
        self.full = self.full or len(chunk) > self.left
        self.streams[stream] += chunk[: self.left]
        self.left -= min(len(chunk), self.left)
        return bool(chunk) and not self.full


def finish(process: "subprocess.Popen[bytes]", began: float, limits: Limits, kill: Callable[[], None]) -> Result:
    """Wait for the end of a process whose stdout and stderr are pipes; `kill` is called when it has to be forced.

    Afterwards the process is reaped. `began` is a time.monotonic(), from which the wall time counts.
    """
    assert process.stdout is not None and process.stderr is not None
    streams = [process.stdout.fileno(), process.stderr.fileno()]
    for stream in streams:
        os.set_blocking(stream, False)
    output = _Output(limits.output_bytes, {stream: bytearray() for stream in streams})
    with process.stdout, process.stderr:
        ended = None
        try:
            ended = _watch(process.pid, output, began + limits.wall_s)
        finally:  # also when we are interrupted
            if ended is not Ended.EXIT:
                kill()
            _reap(process)
        for stream in streams:  # what was written just before the end; nobody is left to write more
            while output.read(stream):
                pass
    if ended is Ended.EXIT and output.full:
        ended = Ended.OUTPUT_LIMIT
    stdout, stderr = (bytes(output.streams[stream]) for stream in streams)
    exit_code = process.returncode if ended is Ended.EXIT else None
    return Result(ended, exit_code, stdout, stderr, time.monotonic() - began)


def _watch(pid: int, output: _Output, deadline: float) -> Ended:
    """Read until the process ends (EXIT), time is up or the output is full."""
    pidfd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        for descriptor in (pidfd, *output.streams):
            poll.register(descriptor, select.POLLIN)
        while (left := deadline - time.monotonic()) > 0:
            for descriptor, _ in poll.poll(left * 1000):
                if descriptor == pidfd:
                    return Ended.EXIT
                if not output.read(descriptor):
                    poll.unregister(descriptor)
                if output.full:
                    return Ended.OUTPUT_LIMIT
        return Ended.TIMEOUT
    finally:
        os.close(pidfd)


def _reap(process: "subprocess.Popen[bytes]") -> None:
    try:
        process.wait(_KILL_S)
    except subprocess.TimeoutExpired:  # `kill` was not enough: uninterruptible in the kernel, or bubblewrap itself hangs
        process.kill()
        process.wait()
