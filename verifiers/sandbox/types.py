"""What a sandbox is asked and what it answers."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class Limits:
    """What one run may use."""

    wall_s: float = 10.0
    """From the start of the jail; then everything in it is killed."""
    cpu_s: float = 10.0
    """Of each process, in whole seconds, rounded up."""
    memory_mib: int = 512
    """Address space of each process. Where a cgroup can be made: with `tmp_mib`, the memory of all together too."""
    processes: int = 16
    """Processes and threads at a time."""
    open_files: int = 64
    """Of each process."""
    file_mib: int = 16
    """Size of each file."""
    tmp_mib: int = 64
    """Size of /tmp, which is /dev/shm too; 0 leaves nothing writable and starts faster."""
    output_bytes: int = 1 << 20
    """Of stdout and stderr together; then everything is killed."""


DEFAULTS = Limits()


class Ended(StrEnum):
    """How a run ended."""

    EXIT = "exit"
    """The command ended by itself, with `exit_code`."""
    TIMEOUT = "timeout"
    """Killed by us: out of wall time."""
    OUTPUT_LIMIT = "output_limit"
    """Killed by us: more output than allowed. What is returned is cut there."""
    KILLED = "killed"
    """Died of a signal that was not ours: a crash, out of CPU time, out of the cgroup's memory."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run left behind. All of it was written by a program that nobody trusts."""

    ended: Ended
    exit_code: int | None
    """None when we killed it; 128 + the signal when it was killed (a program can exit with such a code too)."""
    stdout: bytes
    stderr: bytes
    wall_s: float


class SandboxUnavailable(RuntimeError):
    """No jail can be made, or one that does not hold; the message says what is missing and what to install or set."""
