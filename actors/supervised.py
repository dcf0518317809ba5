"""Supervised stages on Ray Train: a group of ranks that starts again from the newest checkpoint when one of them is lost."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import ray.train
from ray.data import Dataset
from ray.exceptions import RayActorError
from ray.train.torch import TorchConfig
from ray.train.v2.api.config import FailureConfig, RunConfig, ScalingConfig
from ray.train.v2.api.exceptions import RayTrainError, TrainingFailedError, WorkerGroupError
from ray.train.v2.torch.torch_trainer import TorchTrainer

from actors.process import log_to, rank_env
from actors.stalled import Limit, Watch, ending_stalled
from actors.streams import within
from tower_rl.checkpoint import CheckpointError
from tower_rl.config.schema import Policy
from tower_rl.config.stages import SupervisedStage
from tower_rl.data.feed import MaterialisedFeed, StreamingFeed, Taken
from tower_rl.data.rows import DataError
from tower_rl.models.errors import ModelError
from tower_rl.protocols import Feed, RunError, WorkerLost
from tower_rl.runfolder import StageFolder
from tower_rl.status import transferring

ROWS = "rows"
BATCH_ROWS, SHUFFLED_ROWS = 256, 8192
"""Rows of a stream that a rank takes at once, and among which they are drawn."""
COLLECTIVE_TIMEOUT_S = 7 * 86_400
"""Ranks wait for a slow one as long as it takes: who watches them ends them when none shows progress."""


@dataclass(frozen=True, slots=True)
class Streaming:
    """What a rank must know that learns the data set which `fit` is given."""

    stall_timeout_s: float
    """Deadline of the next rows."""
    max_rejects: Mapping[str, float]
    """Of each corpus, the share of bad rows above which the stage stops."""


@dataclass(frozen=True, slots=True)
class Settings:
    """All that a rank must know."""

    model: Path
    dtype: str
    policy: Policy
    stage: SupervisedStage
    seed: int
    packs: Path | Streaming
    """The folder of packs, or how rows stream in."""
    folder: StageFolder
    attempt: int
    logs: Path
    threads: int


def fit(
    settings: Settings, *, gpus: bool, start_timeout_s: float, tell: Callable[[str], None], rows: Dataset | None = None
) -> None:
    """Run the stage to its end.

    Args:
        settings: all that the ranks must know.
        gpus: whether each rank has one.
        start_timeout_s: deadline of the ranks' start.
        tell: is given a line whenever a rank is ended because it stands still.
        rows: TOKENS that the ranks share, for a stage that streams.

    Raises:
        RunError, DataError, ModelError, CheckpointError: what a rank raised, as it was.
        WorkerLost: if ranks were lost more often than `stage.restarts`, or what watches them is lost.
    """
    os.environ["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"] = str(start_timeout_s)
    policy, stage = settings.policy, settings.stage
    trainer = _Trainer(
        run_rank,
        train_loop_config={"settings": settings},
        datasets={} if rows is None else {ROWS: rows},
        scaling_config=ScalingConfig(
            num_workers=policy.workers, use_gpu=gpus, resources_per_worker={"CPU": 1} | ({"GPU": 1} if gpus else {})
        ),
        torch_config=TorchConfig(backend="nccl" if gpus else "gloo", timeout_s=COLLECTIVE_TIMEOUT_S),
        run_config=RunConfig(
            name=f"{stage.name}-{settings.attempt}",
            storage_path=str(settings.folder.path / "ray"),
            failure_config=FailureConfig(max_failures=stage.restarts, controller_failure_limit=0),
            worker_runtime_env={"env_vars": rank_env(settings.threads, gpus)},
        ),
    )
    watches = [Watch(f"rank {rank}", _log(settings, rank)) for rank in range(policy.workers)]
    try:
        with ending_stalled(watches, Limit(policy.step_timeout_s, "policy.step_timeout_s"), tell) as seen:
            trainer.fit()
    except WorkerGroupError as error:
        plain = _plainly(error.worker_failures)
        raise seen[-1] if seen and isinstance(plain, WorkerLost) else plain from error
    except TrainingFailedError as error:
        raise RunError(f"stage {stage.name} could not be run: {_last_line(error)}") from error
    except RayActorError as error:
        raise WorkerLost(f"the process that watches the ranks of stage {stage.name} is lost: {_last_line(error)}") from error


class _Trainer(TorchTrainer):
    """Leaves Ctrl-C to the caller: Ray Train's own handler waits without a deadline, ends the process with code 0, and stays."""

    def _register_sigint_handler(self, controller: Any) -> None:
        pass


def run_rank(config: Mapping[str, Any]) -> None:
    """One rank, from the start or the newest checkpoint to the end of the stage."""
    settings: Settings = config["settings"]
    context = ray.train.get_context()
    rank, ranks = context.get_world_rank(), context.get_world_size()
    log_to(str(_log(settings, rank)))
    with transferring("loading the model"):
        import torch

        from tower_rl.models.supervised import SupervisedTrainer
        from tower_rl.stages.diary import Diary
        from tower_rl.stages.supervised import train

        torch.set_num_threads(settings.threads)
        stage = settings.stage
        learner = SupervisedTrainer(settings.model, settings.dtype, settings.policy, seed=settings.seed)
    feed = _feed(settings, rank, ranks)
    diary = Diary(settings.folder, stage.name, settings.attempt, stage.keep_last, settings.dtype, writes=rank == 0)
    train(learner, feed, diary, settings.policy, stage)


def _log(settings: Settings, rank: int) -> Path:
    return settings.logs / f"{settings.stage.name}-{rank}.log"


def _feed(settings: Settings, rank: int, ranks: int) -> Feed:
    packs, stage = settings.packs, settings.stage
    if isinstance(packs, Path):
        return MaterialisedFeed(packs, stage, settings.seed, rank, ranks)
    shard, wait = ray.train.get_dataset_shard(ROWS), packs.stall_timeout_s

    def tables() -> Iterator[pa.Table]:
        batches = shard.iter_batches(
            batch_format="pyarrow",
            batch_size=BATCH_ROWS,
            local_shuffle_buffer_size=SHUFFLED_ROWS,
            local_shuffle_seed=settings.seed,
        )
        return within(wait, batches)

    return StreamingFeed(tables, stage, packs.max_rejects, ranks, _gather)


def _gather(taken: Taken) -> list[Taken]:
    """What all ranks took."""
    import torch.distributed as dist

    found = [taken] * dist.get_world_size()
    dist.all_gather_object(found, taken)
    return found


def _plainly(failures: Mapping[int, BaseException]) -> Exception:
    """The error for the user: the first that a rank raised on purpose, else that of a rank which died, else the first."""
    for error in failures.values():
        for known in (error, getattr(error, "cause", None), error.__cause__):
            if isinstance(known, RunError | DataError | ModelError | CheckpointError):
                return known
    # Ranks that wait for a dead one raise, too; Ray's own errors are about the dead.
    died = {rank: error for rank, error in failures.items() if isinstance(error, RayTrainError)}
    rank, error = next(iter((died or failures).items()))
    return WorkerLost(f"rank {rank} of the stage is lost: {_last_line(error)}")


def _last_line(error: BaseException) -> str:
    lines = [line for line in str(error).strip().splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__
