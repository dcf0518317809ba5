"""One Ray, one engine and one trainer on the tiny model, for all tests of this folder."""

import asyncio
from types import SimpleNamespace

import numpy as np
import pytest
import ray
from helpers import prompt

from actors.group import spawn
from actors.policy import PolicyRank, Ranks, RankSettings
from actors.process import idle_env
from actors.rollout import Engines, EngineSettings, RolloutEngine
from actors.weights import CheckedSync, EngineClient
from clusters.connect import connect
from tower_rl.config.schema import Cluster, MismatchBound, Policy, RlvrStage

TEMPERATURE = 0.7
PROBE = list(range(20, 60))


@pytest.fixture(scope="session")
def cluster():
    with connect(Cluster(), 6) as dashboard:
        yield dashboard


@pytest.fixture(scope="session")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


def start_engine(folder, log):
    env = idle_env(2) | {"VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_CPU_OMP_THREADS_BIND": "0-1"}
    settings = EngineSettings(
        str(folder),
        "float32",
        False,
        1,
        0.9,
        max_model_len=256,
        max_new_tokens=24,
        temperature=TEMPERATURE,
        stop_token_ids=(2,),
        seed=0,
        log=str(log),
    )
    return spawn(RolloutEngine, {}, env, settings)


@pytest.fixture(scope="session")
def spine(cluster, tiny_model, logs):
    """Engines, ranks and the sync between them, connected."""
    policy = Policy(learning_rate=1e-2, zero_stage=0)
    stage = RlvrStage(name="test", kind="rlvr", steps=10, kl_coefficient=0.1)
    engines = Engines([start_engine(tiny_model, logs / "engine.log")], request_timeout_s=120, start_timeout_s=300)
    settings = RankSettings(str(tiny_model), "float32", policy, 0, 2, str(logs / "policy.log"))
    env = idle_env(2) | {"DS_ACCELERATOR": "cpu"}
    ranks = Ranks([spawn(PolicyRank, {}, env, settings, 0, 1)], policy, stage)
    sync = CheckedSync(ranks, engines, PROBE, MismatchBound(probe=0.01), 120)
    path = f"/dev/shm/tower-rl-test-{ray.get_runtime_context().get_job_id()}"

    async def start():
        await asyncio.gather(engines.ready(), ranks.ready())
        await sync.connect(path, EngineClient(engines.handles, 60))
        await sync.push(0)

    asyncio.run(start())
    yield SimpleNamespace(engines=engines, ranks=ranks, sync=sync, policy=policy, stage=stage, path=path)
    asyncio.run(ranks.shutdown())
    asyncio.run(engines.shutdown())


@pytest.fixture
def prompts():
    rng = np.random.default_rng(0)
    return [prompt(rng.integers(3, 512, 10 + i), cursor=i) for i in range(6)]
