"""Environment variables that actors start with."""

import os
from collections.abc import Sequence

from actors.process import idle_env
from tower_rl.config.schema import Config


def engine_env(config: Config, number: int, gpus: Sequence[str] = ()) -> dict[str, str]:
    """Of a rollout engine, which shares the cores with the others.

    Two engines that both use all cores take several times as long as one for the same prompts: threads that wait for each other
    at the end of each region are not all running.

    Args:
        config: of the run.
        number: of the engine.
        gpus: where it works on those of ranks: Ray gives it none of its own then, and would name none.
    """
    cores = sorted(os.sched_getaffinity(0))
    parts = min(config.rollout.engines, len(cores))
    own = cores[number % parts :: parts]
    return idle_env(len(own)) | {
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, round(config.rollout.memory_gib))),
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, own)),  # inside Ray, `auto` binds to one core
        "VLLM_NO_USAGE_STATS": "1",
        **({"CUDA_VISIBLE_DEVICES": ",".join(gpus)} if gpus else {}),
    }


def engine_gpus(config: Config, ranks: Sequence[Sequence[str]]) -> list[list[str]]:
    """Of each colocated engine: the GPUs of as many ranks as it has, whose own are given in the ranks' order."""
    width = config.rollout.tensor_parallel
    return [[gpu for own in ranks[i : i + width] for gpu in own] for i in range(0, len(ranks), width)]


def threads_each(ranks: int) -> int:
    """Threads of each of the ranks that share this machine's cores."""
    return max(1, len(os.sched_getaffinity(0)) // ranks)


def rank_env(ranks: int, on_gpu: bool) -> dict[str, str]:
    """Of a rank of policy or reference."""
    return idle_env(threads_each(ranks)) | ({} if on_gpu else {"DS_ACCELERATOR": "cpu"})
