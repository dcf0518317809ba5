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
    found = times(config, config.stages[0], KNOWN["hub:Qwen/Qwen2.5-72B"], 2)
    assert found.engine_gpus == 0
    waits = 32 * found.reference + 16 * (found.synchronous - found.reference)
    assert found.idle(ahead=False) == pytest.approx(waits / (48 * found.synchronous))
    assert f"synchronous, colocated {found.synchronous:.1f} s, GPUs idle {found.idle(ahead=False):.0%}" in text


def test_what_does_not_fit_is_told_with_keys_to_change() -> None:
    text = plan("72b", "policy.workers=16", "rollout.tensor_parallel=1", "reference.zero_stage=0")
    assert "H100 80 GB: does NOT fit" in text and "change policy." in text
    assert "change rollout.tensor_parallel=2" in text
    assert "change reference.zero_stage=3" in text


def test_changes_make_it_fit() -> None:
    shape, policy = KNOWN["hub:Qwen/Qwen2.5-72B"], Policy(workers=8, zero_stage=1, tokens_per_micro_batch=8192)
    made = changes(shape, policy, 2, 74 * GIB, 2048)
    assert sum(policy_bytes(shape, policy.model_copy(update=made), 2).values()) <= 74 * GIB
    for key in made:
        fewer = {k: v for k, v in made.items() if k != key}
        assert sum(policy_bytes(shape, policy.model_copy(update=fewer), 2).values()) > 74 * GIB, f"{key} is needless"
    assert changes(KNOWN["hub:google/gemma-2-2b"], Policy(workers=8), 2, 74 * GIB, 2048) == {}
    assert changes(shape, policy, 2, GIB, 2048) == {}, "nothing helps"


def test_what_is_told_to_change_is_a_valid_configuration_that_fits() -> None:
    """Micro-batches must hold a whole rollout, 4096 tokens here; colocated engines stand on all ranks."""
    for given in (["policy.workers=1"], ["policy.workers=2", "rollout.engines=2", "rollout.colocated=true"]):
        line = next(line for line in plan("9b", *given).splitlines() if "H100 80 GB: does NOT fit" in line)
        told = line.partition("; change ")[2].split()
        assert told and "policy.tokens_per_micro_batch=2048" not in told
        memory_lines = plan("9b", *given, *told).partition("memory of a GPU")[2]
        policy_lines = memory_lines.partition("  policy: ")[2].partition("  reference: ")[0]
        assert policy_lines.count(": fits, ") == 2


def test_heads_are_divided_among_the_gpus_of_an_engine() -> None:
    assert (
        "rollout: does NOT work, 64 heads, 8 of keys and values, are divided; change rollout.tensor_parallel to one of 1, 2, 4, 8"
        in plan("72b", "rollout.tensor_parallel=3")
    )
    narrow = "rollout.gpu_memory_utilization=0.2"
    assert "does NOT fit; change rollout.gpu_memory_utilization, which is 0.2" in plan("72b", narrow)
    colocated = ["rollout.engines=8", "rollout.colocated=true", narrow]
    assert "does NOT fit; change rollout.tensor_parallel=2 rollout.engines=4" in plan("9b", *colocated)
    plan("9b", *colocated, "rollout.tensor_parallel=2", "rollout.engines=4")


def test_a_step_has_its_epochs_and_its_own_log_probabilities() -> None:
    def found(*overrides):
        config = load(str(ROOT / "configs" / "rlvr_72b.yaml"), ["stages.0.asynchronous=null", *overrides])
        return times(config, config.stages[0], KNOWN["hub:Qwen/Qwen2.5-72B"], 2)

    once, often, ahead = found(), found("stages.0.epochs=4"), found("stages.0.asynchronous={staleness: 1}")
    assert once.old_logprobs == pytest.approx(once.update / 4)
    assert often.update == 4 * once.update
    assert often.synchronous == pytest.approx(once.synchronous + 3 * once.update + once.old_logprobs)
    assert once.asynchronous == pytest.approx(max(once.generation, once.reference + 1.25 * once.update) + once.sync)
    assert often.asynchronous == pytest.approx(max(often.generation, often.reference + 4.25 * once.update) + often.sync)
    assert ahead == once, "the plan compares both loops, whichever is configured"
    busy = 16 * (once.generation + once.sync) + 16 * once.reference + 32 * (1.25 * once.update + once.sync)
    assert once.idle(ahead=True) == pytest.approx(1 - busy / (64 * once.asynchronous))


@pytest.mark.parametrize(
    "text", ["{", '{"model_type": "gemma3", "text_config": {}}', "[]", '{"model_type": "llama", "num_attention_heads": 0}', None]
)
def test_a_model_whose_config_tells_no_sizes_leaves_the_rest_of_the_plan(text, tmp_path: Path) -> None:
    if text is not None:
        (tmp_path / "config.json").write_text(text)
    lines = forecast(load(str(ROOT / "configs" / "rlvr_2b.yaml"), [f"model.path={tmp_path}"]))
    assert lines[-1].startswith(f"no memory and no seconds: the sizes of {tmp_path} are not known here")


def test_an_unknown_model_leaves_the_rest_of_the_plan() -> None:
    lines = forecast(load(str(ROOT / "configs" / "rlvr_2b.yaml"), ["model.path=hub:nobody/knows"]))
    assert any(line.startswith("on 1 node of 8 GPUs") for line in lines)
    assert lines[-1].startswith("no memory and no seconds: the sizes of hub:nobody/knows are not known here")
