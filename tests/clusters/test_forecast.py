"""The plan's figures of the configurations at 2, 9 and 72 billion parameters, by hand."""

from pathlib import Path

import pytest

from clusters.forecast import changes, forecast, policy_bytes, times
from clusters.plan import describe
from clusters.shapes import KNOWN
from tower_rl.config.load import load
from tower_rl.config.schema import Policy

ROOT = Path(__file__).parents[2]
GIB = 2**30
EXPECTED = {  # billions of parameters, nodes, GPUs of engines, policy, reference
    "2b": (2_614_341_888, 1, 3, 4, 1),
    "9b": (9_241_705_984, 3, 8, 8, 8),
    "72b": (72_706_203_648, 8, 16, 32, 16),
}


def plan(size, *overrides):
    return describe(load(str(ROOT / "configs" / f"rlvr_{size}.yaml"), overrides))


@pytest.mark.parametrize("size", EXPECTED)
def test_nodes_states_and_sync(size: str) -> None:
    p, nodes, engines, ranks, references = EXPECTED[size]
    text = plan(size)
    assert f"on {nodes} node{'s' * (nodes > 1)} of 8 GPUs: {engines + ranks + references} GPUs in one placement group" in text
    assert f"  rollout: {engines} GPUs" in text and f"  policy: {ranks} GPUs" in text
    assert f"  reference: {references} GPUs" in text
    weights = 2 * p if size == "2b" else 2 * p / ranks  # ZeRO 2, ZeRO 3
    states = f"weights {weights / GIB:.2f}, gradients {4 * p / ranks / GIB:.2f}, optimizer {12 * p / ranks / GIB:.2f}"
    assert states in text
    assert f"a weight sync: {2 * p / GIB:.1f} GiB; shared memory on one node {2 * p / 4e9:.1f} s" in text
    assert f"Ray's object stores between nodes {2 * p / 1.5e9:.1f} s" in text
    assert f"a checkpoint: {16 * p / GIB:.1f} GiB" in text
    tokens = 64 * (16 * 2048 / 2 + 2048 / 2)
    assert f"a step on H100: about {tokens:,.0f} tokens" in text
    work = 8 * p * tokens / (ranks * 989e12 * 0.35)
    assert f"update {work:.1f} s" in text
    assert text.count("does NOT fit") == 0


def test_colocated_engines_share_gpus_and_leave_none_idle() -> None:
    keys = ("rollout.engines=4", "policy.workers=32", "reference.workers=16", "rollout.colocated=true")
    text, p = plan("72b", *keys), EXPECTED["72b"][0]
    assert "on 6 nodes of 8 GPUs: 48 GPUs in one placement group" in text
    assert "  rollout: on GPUs of policy, asleep while it trains" in text
    states = 18 * p / 32
    assert f"rollout beside the policy's states, {states / GIB:.2f}, while it samples" in text
    config = load(str(ROOT / "configs" / "rlvr_72b.yaml"), keys)
    share = config.rollout.gpu_memory_utilization
    over = states + share * 79 * GIB - 74 * GIB
    assert over > 0 and f"H100 80 GB: does NOT fit, {over / GIB:.1f} too much" in text
    assert f"change rollout.gpu_memory_utilization={(74 * GIB - states) / (79 * GIB):.2f}" in text
    assert "asynchronous" not in text
    found = times(config, KNOWN["hub:Qwen/Qwen2.5-72B"], 2)
    assert found.engine_gpus == 0
    waits = 32 * found.reference + 16 * (found.synchronous - found.reference)
    assert found.idle(found.synchronous) == pytest.approx(waits / (48 * found.synchronous))
    assert f"synchronous, colocated {found.synchronous:.1f} s, GPUs idle {found.idle(found.synchronous):.0%}" in text


def test_what_does_not_fit_is_told_with_keys_to_change() -> None:
    text = plan("72b", "policy.workers=16", "rollout.tensor_parallel=1", "reference.zero_stage=0")
    assert "H100 80 GB: does NOT fit" in text and "change policy." in text
    assert "change rollout.tensor_parallel=2" in text
    assert "change reference.zero_stage=3" in text


def test_changes_make_it_fit() -> None:
    shape, policy = KNOWN["hub:Qwen/Qwen2.5-72B"], Policy(workers=8, zero_stage=1, tokens_per_micro_batch=8192)
    made = changes(shape, policy, 2, 74 * GIB)
    values = dict(change.removeprefix("policy.").split("=") for change in made)
    fixed = Policy(
        workers=int(values["workers"]),
        zero_stage=int(values["zero_stage"]),
        tokens_per_micro_batch=int(values["tokens_per_micro_batch"]),
        gradient_checkpointing=values["gradient_checkpointing"] == "true",
    )
    assert sum(policy_bytes(shape, fixed, 2).values()) <= 74 * GIB
    assert changes(KNOWN["hub:google/gemma-2-2b"], Policy(workers=8), 2, 74 * GIB) == []


def test_an_unknown_model_leaves_the_rest_of_the_plan() -> None:
    lines = forecast(load(str(ROOT / "configs" / "rlvr_2b.yaml"), ["model.path=hub:nobody/knows"]))
    assert any(line.startswith("on 1 node of 8 GPUs") for line in lines)
    assert lines[-1].startswith("no memory and no seconds: the sizes of hub:nobody/knows are not known here")
