"""Environment variables that actors start with."""

import os

from actors.process import idle_env
from tower_rl.config.schema import Config


def engine_env(config: Config) -> dict[str, str]:
    """Of a rollout engine."""
    cores = sorted(os.sched_getaffinity(0))
    return idle_env(len(cores)) | {
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, round(config.rollout.memory_gib))),
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),  # inside Ray, `auto` binds to one core
        "VLLM_NO_USAGE_STATS": "1",
    }


def threads_each(ranks: int) -> int:
    """Threads of each of the ranks that share this machine's cores."""
    return max(1, len(os.sched_getaffinity(0)) // ranks)


def rank_env(ranks: int, on_gpu: bool) -> dict[str, str]:
    """Of a rank of policy or reference."""
    return idle_env(threads_each(ranks)) | ({} if on_gpu else {"DS_ACCELERATOR": "cpu"})
