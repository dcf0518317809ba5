"""What every actor process does first."""

import faulthandler
import os
from pathlib import Path

from actors.stalled import STACK_SIGNAL
from tower_rl.status import publish, status_path

_MALLOC = {"hugetlb": 1, "mmap_threshold": 32 * 2**20, "trim_threshold": 16 * 2**30}


def log_to(path: str) -> None:
    """Send this process's output, and that of its children, to a file instead of the driver's screen.

    Beside it, with other endings: `.status`, what the process reports of its progress (tower_rl.status), and `.stack`, the stacks
    of its threads when it is asked for them by a signal.
    """
    log = Path(path)
    log.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(descriptor, stream)
    os.close(descriptor)
    publish(status_path(log))
    stack = os.open(log.with_suffix(".stack"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    faulthandler.register(STACK_SIGNAL, file=stack)


def visible_gpus() -> tuple[str, ...]:
    """The GPUs that CUDA_VISIBLE_DEVICES names. Ray sets it for actors with GPUs; for others it is what the machine has."""
    return tuple(filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")))


def idle_env(threads: int) -> dict[str, str]:
    """Environment of an actor that computes on the CPU: it uses `threads` threads, and none while it waits.

    Engine and trainer share the cores in turns; OpenMP's default of spinning after each region would slow the other down. Not
    spinning at all would cost a quarter of a step: regions follow each other within microseconds, and waking takes longer. Ten
    times as much gains nothing alone, and beside two busy loops a step takes 61 s instead of 42 (18 s alone).
    glibc keeps freed memory and uses huge pages: returning and faulting in each large tensor anew cost a sixth of an update. Only
    blocks of 32 MiB and more (the most that glibc allows) go back at once: no two steps have tensors of the same size, and in
    the heap the largest left holes that nothing fitted, by which a process grew from 5 to 10 GiB in 80 steps.
    """
    return {
        "OMP_NUM_THREADS": str(threads),
        "OMP_WAIT_POLICY": "PASSIVE",
        "GOMP_SPINCOUNT": "3000",  # about a tenth of a millisecond
        "KMP_BLOCKTIME": "0",
        "GLIBC_TUNABLES": ":".join(f"glibc.malloc.{name}={value}" for name, value in _MALLOC.items()),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
    }


def rank_env(threads: int, on_gpu: bool) -> dict[str, str]:
    """Of a rank, which computes where Ray says."""
    return idle_env(threads) | {"DS_ACCELERATOR": "cuda" if on_gpu else "cpu"}
