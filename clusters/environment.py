"""Environment variables that actors start with."""

import os
from collections.abc import Sequence

from actors.process import idle_env
from tower_rl.config.schema import Config
from tower_rl.config.stages import RlvrStage


def core_shares(config: Config) -> tuple[list[int], list[int]]:
    """Cores for the engines together, and for the ranks together: the same ones where they work in turns.

    Where they work at once, two that both use all cores hold each other up: threads that wait for each other at the end of each
    region are not all running. A step of the demo then took twice as long as with half the cores for each.
    """
    cores = sorted(os.sched_getaffinity(0))
    at_once = any(isinstance(stage, RlvrStage) and stage.overlaps for stage in config.stages)
    return (cores[::2], cores[1::2]) if at_once and len(cores) > 1 else (cores, cores)


def engine_env(config: Config, number: int, gpus: Sequence[str] = ()) -> dict[str, str]:
    """Of a rollout engine, which has its part of the engines' cores.

    Args:
        config: of the run.
        number: of the engine.
        gpus: where it works on those of ranks: Ray gives it none of its own then, and would name none.
    """
    cores, _ = core_shares(config)
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


def threads_each(config: Config, ranks: int) -> int:
    """Threads of each of so many ranks: of policy, reference or a reward model, which compute in turns."""
    _, cores = core_shares(config)
    return max(1, len(cores) // ranks)
