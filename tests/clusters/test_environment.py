"""Environment of actors: cores and GPUs."""

import os

import pytest

from clusters.environment import engine_env, engine_gpus
from tower_rl.config.load import load


def config(*overrides):
    return load("configs/demo.yaml", overrides)


@pytest.mark.parametrize(
    ("engines", "found"),
    [(1, ["3,4,7,9,12"]), (2, ["3,7,12", "4,9"]), (7, ["3", "4", "7", "9", "12", "3", "4"])],
)
def test_engines_share_the_cores(monkeypatch: pytest.MonkeyPatch, engines: int, found: list[str]) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {12, 3, 4, 9, 7})
    made = [engine_env(config(f"rollout.engines={engines}"), i) for i in range(engines)]
    assert [env["VLLM_CPU_OMP_THREADS_BIND"] for env in made] == found
    assert [env["OMP_NUM_THREADS"] for env in made] == [str(len(cores.split(","))) for cores in found]
    assert all("CUDA_VISIBLE_DEVICES" not in env for env in made), "Ray says which"


def test_a_colocated_engine_has_the_gpus_of_its_ranks() -> None:
    colocated = config("rollout.engines=2", "rollout.tensor_parallel=2", "policy.workers=4", "rollout.colocated=true")
    found = engine_gpus(colocated, [("2",), ("3",), ("GPU-a",), ("GPU-b",)])
    assert found == [["2", "3"], ["GPU-a", "GPU-b"]]
    assert engine_env(colocated, 1, found[1])["CUDA_VISIBLE_DEVICES"] == "GPU-a,GPU-b"
