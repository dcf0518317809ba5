"""Makes the actors of a stage and brings them up together."""

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import ray

from actors.group import spawn
from actors.policy import PolicyRank, Ranks, RankSettings
from actors.process import idle_env
from actors.reference import ReferenceActor, References
from actors.rollout import Engines, EngineSettings, RolloutEngine
from actors.verification import PoolSize, Verification, VerificationActor, pools
from actors.weights import CheckedSync, EngineClient
from clusters.placement import Slot, options, reserve
from tower_rl.config.schema import Config, RlvrStage
from tower_rl.models.load import stop_token_ids
from tower_rl.stages.rlvr import Parts

CONNECT_TIMEOUT_S = 120.0


@dataclass(frozen=True, slots=True)
class Place:
    """What a run knows about itself when its actors are made."""

    model: Path
    """The folder that engines and trainers load."""
    logs: Path
    verdicts: Path
    """The file for verdicts that verifiers with `cache` keep."""
    attempt: int
    probe: Sequence[int]
    """Token ids of the text that weight syncs are checked with."""


@asynccontextmanager
async def parts(config: Config, stage: RlvrStage, slots: Sequence[Slot], place: Place) -> AsyncIterator[Parts]:
    """The actors of an RL stage, all ready and connected; they end with the context.

    Raises:
        RunError: if one does not start in time.
    """
    group = reserve(slots, config.cluster.placement_timeout_s)
    async with AsyncExitStack() as ends:
        ends.callback(ray.util.remove_placement_group, group)
        engines = _engines(config, place, options(group, slots, "rollout"))
        ends.push_async_callback(engines.shutdown)
        ranks = _ranks(config, stage, place, options(group, slots, "policy"))
        ends.push_async_callback(ranks.shutdown)
        verification = _verification(config, place, options(group, slots, "verification")[0])
        ends.push_async_callback(verification.shutdown)
        references = _references(config, place, options(group, slots, "reference")) if stage.kl_coefficient > 0 else None
        if references:
            ends.push_async_callback(references.shutdown)
        sync = CheckedSync(ranks, engines, place.probe, stage.mismatch, config.policy.step_timeout_s)
        await asyncio.gather(engines.ready(), ranks.ready(), *([references.ready()] if references else []))
        client = EngineClient(engines.handles, CONNECT_TIMEOUT_S)
        await sync.connect(f"/dev/shm/tower-rl-{uuid.uuid4().hex[:12]}", client)
        yield Parts(engines, verification, references, ranks, sync)


def _engines(config: Config, place: Place, placed: Sequence[dict[str, object]]) -> Engines:
    rollout = config.rollout
    cores = sorted(os.sched_getaffinity(0))
    env = idle_env(len(cores)) | {
        "VLLM_CPU_KVCACHE_SPACE": str(max(1, round(rollout.memory_gib))),
        "VLLM_CPU_OMP_THREADS_BIND": ",".join(map(str, cores)),  # inside Ray, `auto` binds to one core
        "VLLM_NO_USAGE_STATS": "1",
    }
    handles = []
    for i, options_ in enumerate(placed):
        settings = EngineSettings(
            folder=str(place.model),
            dtype=config.model.dtype,
            on_gpu=bool(options_["num_gpus"]),
            tensor_parallel=rollout.tensor_parallel,
            gpu_memory_utilization=rollout.gpu_memory_utilization,
            max_model_len=config.data.max_prompt_tokens + rollout.max_new_tokens,
            max_new_tokens=rollout.max_new_tokens,
            temperature=rollout.temperature,
            stop_token_ids=stop_token_ids(place.model),
            seed=config.run.seed + 1_000 * place.attempt + 100_000 * i,
            log=str(place.logs / f"rollout-{i}.log"),
        )
        handles.append(spawn(RolloutEngine, options_, env, settings))
    return Engines(handles, request_timeout_s=rollout.request_timeout_s, start_timeout_s=rollout.start_timeout_s)


def _ranks(config: Config, stage: RlvrStage, place: Place, placed: Sequence[dict[str, object]]) -> Ranks:
    threads = max(1, len(os.sched_getaffinity(0)) // len(placed))
    env = idle_env(threads) | ({} if placed[0]["num_gpus"] else {"DS_ACCELERATOR": "cpu"})
    handles = []
    for i, options_ in enumerate(placed):
        settings = RankSettings(
            str(place.model), config.model.dtype, config.policy, config.run.seed, threads, str(place.logs / f"policy-{i}.log")
        )
        handles.append(spawn(PolicyRank, options_, env, settings, i, len(placed)))
    return Ranks(handles, config.policy, stage)


def _references(config: Config, place: Place, placed: Sequence[dict[str, object]]) -> References:
    threads = max(1, len(os.sched_getaffinity(0)) // len(placed))
    handles = []
    for i, options_ in enumerate(placed):
        log = str(place.logs / f"reference-{i}.log")
        arguments = (str(place.model), config.model.dtype, config.policy.logprob_chunk, threads, log)
        handles.append(spawn(ReferenceActor, options_, idle_env(threads), *arguments))
    return References(handles, config.reference.timeout_s)


def _verification(config: Config, place: Place, options_: dict[str, object]) -> Verification:
    shared = PoolSize(config.verification.workers, config.verification.memory_mib)
    log = str(place.logs / "verification.log")
    handle = spawn(VerificationActor, options_, {}, pools(config.verifiers, shared), str(place.verdicts), log)
    return Verification(handle, config.verifiers, config.verification.timeout_s)
