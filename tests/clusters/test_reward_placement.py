"""clusters.placement: slots of a run with reward models."""

import pytest

from clusters.placement import Slot, slots
from tower_rl.config.schema import Config
from tower_rl.protocols import RunError


def config(rewards: int, kl: float = 0.0) -> Config:
    models = {f"liked{i}": {"reward_model": "x"} for i in range(rewards)}
    return Config.model_validate(
        {
            "run": {"name": "a", "dir": "b"},
            "model": {"path": "c"},
            "data": {},
            "verifiers": {"rules": {"use": "constraints"}, **models},
            "stages": [{"name": "rl", "kind": "rlvr", "steps": 1, "kl_coefficient": kl}],
        }
    )


def roles(found: list[Slot]) -> list[tuple[str, float]]:
    return [(slot.role, slot.gpus) for slot in found]


def test_a_slot_for_each_reward_model_and_none_for_other_verifiers() -> None:
    assert roles(slots(config(0), 0)) == [("rollout", 0), ("policy", 0), ("verification", 0)]
    assert roles(slots(config(2), 0)) == [("rollout", 0), ("policy", 0), ("reward", 0), ("reward", 0), ("verification", 0)]


def test_a_gpu_each_where_there_are_enough() -> None:
    assert roles(slots(config(2), 4)) == [("rollout", 1), ("policy", 1), ("reward", 1), ("reward", 1), ("verification", 0)]


def test_one_gpu_is_shared_with_one_reward_model() -> None:
    found = roles(slots(config(1, kl=0.1), 1))
    assert found == [("rollout", 0.25), ("policy", 0.25), ("reference", 0.25), ("reward", 0.25), ("verification", 0)]


@pytest.mark.parametrize(("rewards", "gpus"), [(2, 1), (1, 2)])
def test_too_few_gpus(rewards: int, gpus: int) -> None:
    with pytest.raises(
        RunError, match=rf"needs {2 + rewards} GPUs \(1 rollout, 1 policy, {rewards} reward\), the cluster has {gpus}"
    ):
        slots(config(rewards), gpus)
