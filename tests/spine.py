"""An engine and a policy rank on one model, connected, in the session's Ray."""

import asyncio
from types import SimpleNamespace

import ray

from actors.group import spawn
from actors.policy import PolicyRank, RankSettings, RlvrRanks
from actors.process import idle_env
from actors.rollout import CALLS, ColocatedEngines, Engines, EngineSettings, RolloutEngine
from actors.weights import CheckedSync, EngineClient

TEMPERATURE = 0.7


def start_engine(name, folder, logs, colocated=False, **placed):
    env = idle_env(2) | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0-1"}
    env |= {"VLLM_LOGGING_LEVEL": "INFO"}  # verl sets another where it is imported
    env |= {"VLLM_V1_OUTPUT_PROC_CHUNK_SIZE": "2"}  # vLLM hands over a step's tokens in as many parts as it can
    settings = EngineSettings(
        str(folder),
        "float32",
        False,
        1,
        0.9,
        colocated=colocated,
        max_model_len=256,
        max_new_tokens=24,
        temperature=TEMPERATURE,
        stop_token_ids=(2,),
        seed=0,
        log=str(logs / f"{name}.log"),
    )
    return spawn(RolloutEngine, name, logs / f"{name}.log", {"max_concurrency": CALLS, **placed}, env, settings)


def start_spine(of, folder, logs, policy, stage, probe, kind=Engines):
    """All of it; `of` is what tells it from others in the same Ray. Version 0 is in the engine."""
    engine = start_engine(f"rollout-{of}", folder, logs, colocated=kind is ColocatedEngines)
    engines = kind([engine], request_timeout_s=120, start_timeout_s=300)
    log = logs / f"policy-{of}.log"
    settings = RankSettings(str(folder), "float32", policy, 0, 2, str(log))
    env = idle_env(2) | {"DS_ACCELERATOR": "cpu"}
    ranks = RlvrRanks([spawn(PolicyRank, f"policy-{of}", log, {}, env, settings, 0, 1)], policy, stage)
    sync = CheckedSync(ranks, engines, probe, 0.01)
    path = f"/dev/shm/tower-rl-test-{of}-{ray.get_runtime_context().get_job_id()}"

    async def start():
        await asyncio.gather(engines.ready(), ranks.ready())
        await sync.connect(path, EngineClient([engine.handle], 60))
        await sync.push(0)

    asyncio.run(start())
    return SimpleNamespace(engines=engines, ranks=ranks, sync=sync, policy=policy, stage=stage, path=path)


def end_spine(spine):
    asyncio.run(spine.ranks.shutdown())
    asyncio.run(spine.engines.shutdown())
