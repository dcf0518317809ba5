"""Every family through engine and trainer: sampled, learned, synced and sampled again, with prompts beyond sliding windows."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import ray
import torch
from helpers import SLIDING, plain_model, prompt
from spine import TEMPERATURE, end_spine, start_spine

from tower_rl.batching import assemble
from tower_rl.config.schema import Policy
from tower_rl.config.stages import RlvrStage
from tower_rl.models.load import FAMILIES

pytestmark = [pytest.mark.ray, pytest.mark.slow]

PROBE = list(range(20, 140))
WINDOWED = SLIDING | {"sliding_window": 32}
CHANGES = {
    "gemma2": WINDOWED | {"attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0, "query_pre_attn_scalar": 32},
    "gemma3_text": WINDOWED | {"query_pre_attn_scalar": 32},
}


@pytest.fixture(scope="module")
def starting(cluster, logs, tiny_family):
    """By family its folder, and engine and rank on it as a future: two start at a time, while those before are tested."""
    # weights so large that attention is far from uniform and caps bend; heads of 32 are the smallest of vLLM's CPU attention
    sizes = {"head_dim": 32, "initializer_range": 0.15}
    folders = {name: tiny_family(name, CHANGES.get(name, {}) | sizes) for name in FAMILIES}
    policy = Policy(learning_rate=1e-3, zero_stage=2)
    stage = RlvrStage(name="test", kind="rlvr", steps=10, kl_coefficient=0.0)
    with ThreadPoolExecutor(2) as pool:
        yield {
            name: (folder, pool.submit(start_spine, name, folder, logs, policy, stage, PROBE)) for name, folder in folders.items()
        }
        pool.shutdown(cancel_futures=True)


@pytest.fixture(params=FAMILIES)
def family(request, starting):
    """The family's name, its folder, and engine and rank on it."""
    folder, started = starting[request.param]
    spine = started.result()
    yield request.param, folder, spine
    end_spine(spine)


@torch.no_grad()
def plain_probe(folder):
    """What transformers alone says of the probe text, in eager attention."""
    ids = torch.tensor(PROBE)
    logprobs = plain_model(folder)(ids[None]).logits[0, :-1].log_softmax(-1)
    return logprobs.gather(1, ids[1:, None])[:, 0].numpy()


async def test_a_step(family):
    name, folder, spine = family
    assert {f"rollout-{name}", f"policy-{name}"} <= set(ray.util.list_named_actors()), "by these names the dashboard shows them"
    before = (await spine.engines.probe(PROBE))[0]
    eager = float(np.abs(before - plain_probe(folder)).max())
    rng = np.random.default_rng(0)
    prompts = [prompt(rng.integers(3, 512, 100 + 7 * i), cursor=i) for i in range(3)]
    groups = [group async for group in spine.engines.generate(prompts, 4)]
    advantages = [np.array([1, -1, 1, -1], np.float32) for _ in groups]
    batches = assemble(groups, advantages, ranks=1, budget=512, temperature=TEMPERATURE)
    metrics = (await spine.ranks.update(batches, 0)).metrics
    probe = (await spine.sync.push(1))["mismatch/probe"]
    moved = float(np.abs((await spine.engines.probe(PROBE))[0] - before).mean())
    figures = {key: metrics[f"mismatch/{key}"] for key in ("mean", "max", "outside")} | {"probe": probe}
    print(f"{name}: " + ", ".join(f"{key} {value:.2e}" for key, value in (figures | {"eager": eager, "moved": moved}).items()))
    assert eager < 5e-3, "engine against transformers alone"
    assert figures["mean"] < 1e-3 and figures["max"] < 1e-2 and figures["outside"] == 0
    assert probe < 1e-3 and moved > 10 * probe, "the engine has the new weights, and they are others"
