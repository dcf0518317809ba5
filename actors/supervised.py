"""Supervised stages on Ray Train: a group of ranks that starts again from the newest checkpoint when one of them is lost."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray.train
from ray.train.torch import TorchConfig
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import TrainingFailedError, WorkerGroupError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from actors.process import idle_env, log_to
from tower_rl.config.schema import Policy, SupervisedStage
from tower_rl.data.rows import DataError
from tower_rl.models.errors import ModelError
from tower_rl.protocols import RunError, WorkerLost
from tower_rl.runfolder import StageFolder


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a rank must know."""

    model: Path
    dtype: str
    policy: Policy
    stage: SupervisedStage
    seed: int
    packs: Path
    """The folder of packs."""
    folder: StageFolder
    attempt: int
    logs: Path
    threads: int


def fit(settings: Settings, *, gpus: bool, start_timeout_s: float) -> None:
    """Run the stage to its end.

    Raises:
        RunError, DataError, ModelError: what a rank raised, as it was.
        WorkerLost: if ranks were lost more often than `stage.restarts`.
    """
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(start_timeout_s)
    policy, stage = settings.policy, settings.stage
    trainer = TorchTrainer(
        run_rank,
        train_loop_config={"settings": settings},
        scaling_config=ScalingConfig(
            num_workers=policy.workers, use_gpu=gpus, resources_per_worker={"CPU": 1} | ({"GPU": 1} if gpus else {})
        ),
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=int(policy.step_timeout_s)),
        run_config=RunConfig(
            name=f"{stage.name}-{settings.attempt}",
            storage_path=str(settings.folder.path / "ray"),
            failure_config=FailureConfig(max_failures=stage.restarts, controller_failure_limit=0),
            worker_runtime_env={"env_vars": _environment(settings.threads, gpus)},
        ),
    )
    try:
        trainer.fit()
    except WorkerGroupError as error:
        raise _plainly(error.worker_failures) from error
    except TrainingFailedError as error:
        raise RunError(f"stage {stage.name} could not be run: {_first_line(error)}") from error


def run_rank(config: Mapping[str, Any]) -> None:
    """One rank, from the start or the newest checkpoint to the end of the stage."""
    settings: Settings = config["settings"]
    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    log_to(str(settings.logs / f"{settings.stage.name}-{rank}.log"))
    import torch
    from tower_rl.models.supervised import SupervisedTrainer

    from tower_rl.data.feed import MaterialisedFeed
    from tower_rl.stages.diary import Diary
    from tower_rl.stages.supervised import train

    torch.set_num_threads(settings.threads)
    stage = settings.stage
    learner = SupervisedTrainer(settings.model, settings.dtype, settings.policy, seed=settings.seed)
    feed = MaterialisedFeed(settings.packs, stage, settings.seed, rank, ranks)
    diary = Diary(settings.folder, stage.name, settings.attempt, stage.keep_last, writes=rank == 0)
    train(learner, feed, diary, settings.policy, stage)


def _environment(threads: int, gpus: bool) -> dict[str, str]:
    return idle_env(threads) | ({} if gpus else {"DS_ACCELERATOR": "cpu"})


def _plainly(failures: Mapping[int, BaseException]) -> Exception:
    """The error for the user: the first that a rank raised on purpose, else the first."""
    for error in failures.values():
        for known in (error, getattr(error, "cause", None), error.__cause__):
            if isinstance(known, RunError | DataError | ModelError):
                return known
    rank, error = next(iter(failures.items()))
    return WorkerLost(f"rank {rank} of the stage is lost: {_first_line(error)}")


def _first_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
