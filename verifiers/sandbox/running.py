"""One child process: its output with a cap, its deadline, its death."""

import os
import select
import subprocess
import time
from collections.abc import Callable, Sequence
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
    streams = (process.stdout.fileno(), process.stderr.fileno())
    end = os.pidfd_open(process.pid)
    try:
        with process.stdout, process.stderr:
            ended, (stdout, stderr) = collect(streams, end, began + limits.wall_s, limits.output_bytes, kill)
    finally:
        os.close(end)
        reap(process)
    exit_code = process.returncode if ended is Ended.EXIT else None
    return Result(ended, exit_code, stdout, stderr, time.monotonic() - began)


def collect(
    streams: Sequence[int], end: int, deadline: float, most: int, kill: Callable[[], None]
) -> tuple[Ended, tuple[bytes, bytes]]:
    """Read stdout and stderr until the descriptor `end` becomes readable, and `kill` the writers if it does not in time.

    `deadline` is a time.monotonic(); `most` bytes are read altogether. The end is EXIT, TIMEOUT or OUTPUT_LIMIT.
    """
    for stream in streams:
        os.set_blocking(stream, False)
    output = _Output(most, {stream: bytearray() for stream in streams})
    ended = None
    try:
        ended = _watch(end, output, deadline)
    finally:  # also when we are interrupted
        if ended is not Ended.EXIT:
            kill()
    for stream in streams:  # what was written just before the end
        while output.read(stream):
            pass
    if ended is Ended.EXIT and output.full:
        ended = Ended.OUTPUT_LIMIT
    stdout, stderr = (bytes(output.streams[stream]) for stream in streams)
    return ended, (stdout, stderr)


def _watch(end: int, output: _Output, deadline: float) -> Ended:
    """Read until `end` is readable (EXIT), time is up or the output is full."""
    poll = select.poll()
    for descriptor in (end, *output.streams):
        poll.register(descriptor, select.POLLIN)
    while (left := deadline - time.monotonic()) > 0:
        for descriptor, _ in poll.poll(left * 1000):
            if descriptor == end:
                return Ended.EXIT
            if not output.read(descriptor):
                poll.unregister(descriptor)
            if output.full:
                return Ended.OUTPUT_LIMIT
    return Ended.TIMEOUT


def reap(process: "subprocess.Popen[bytes]") -> None:
    """Wait for a process that was told to end."""
    try:
        process.wait(_KILL_S)
    except subprocess.TimeoutExpired:  # `kill` was not enough: uninterruptible in the kernel, or bubblewrap itself hangs
        process.kill()
        process.wait()
