"""Environment of actors: cores and GPUs."""

import os

import pytest

from clusters.environment import core_shares, engine_env, engine_gpus, threads_each
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


@pytest.mark.parametrize(
    ("cores", "staleness", "engines", "trainers", "threads"),
    [
        ({0, 1}, "null", [0, 1], [0, 1], 2),
        ({0, 1}, "{staleness: 0}", [0, 1], [0, 1], 2),
        ({0, 1}, "{staleness: 1}", [0], [1], 1),
        ({2, 3, 5, 7, 8}, "{staleness: 2}", [2, 5, 8], [3, 7], 2),
        ({4}, "{staleness: 1}", [4], [4], 1),
    ],
)
def test_engines_and_ranks_that_work_at_once_divide_the_cores(
    monkeypatch: pytest.MonkeyPatch, cores: set[int], staleness: str, engines: list[int], trainers: list[int], threads: int
) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: cores)
    config_ = config(f"stages.0.asynchronous={staleness}")
    assert core_shares(config_) == (engines, trainers)
    assert engine_env(config_, 0)["VLLM_CPU_OMP_THREADS_BIND"] == ",".join(map(str, engines))
    assert threads_each(config_, 1) == threads
    assert threads_each(config_, 3) == 1
