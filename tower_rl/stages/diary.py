"""What a supervised stage leaves behind: metrics, validation, checkpoints. All ranks call it, the first one writes."""

import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from tower_rl import checkpoint
from tower_rl.protocols import Feed, RankLearner
from tower_rl.reporting.metrics import MetricsLog
from tower_rl.runfolder import StageFolder
from tower_rl.types import LmResult, StreamLoss


@dataclass(frozen=True, slots=True)
class Saved:
    """Where to go on."""

    folder: Path
    step: int
    feed: dict[str, Any]


class Diary:
    """Of one stage and one rank."""

    def __init__(self, folder: StageFolder, name: str, attempt: int, keep_last: int, dtype: str, *, writes: bool) -> None:
        """The writer opens the logs; rows past the newest checkpoint are marked superseded."""
        self.folder, self.name, self.attempt, self.keep_last, self.dtype = folder, name, attempt, keep_last, dtype
        self._logs: tuple[MetricsLog, MetricsLog] | None = None
        if writes:
            newest = checkpoint.latest(folder.path)
            done = checkpoint.step_of(newest) if newest else 0
            self._logs = MetricsLog(folder.metrics), MetricsLog(folder.validation)
            self._logs[0].supersede(done - 1)
            self._logs[1].supersede(done if newest else -1)

    def newest(self) -> Saved | None:
        """The newest complete checkpoint, its digests checked by the writer."""
        path = checkpoint.latest(self.folder.path)
        if path is None:
            return None
        if self._logs:
            checkpoint.verify(path)
        state = checkpoint.read_state(path)
        return Saved(path, state["step"], state["feed"])

    def step(self, number: int, result: LmResult, mixture: Mapping[str, float], seconds: Mapping[str, float]) -> None:
        """One row of metrics."""
        if self._logs:
            self._logs[0].append(self._row(number) | figures(result, seconds) | dict(mixture))

    def validation(self, done: int, losses: Mapping[str, StreamLoss]) -> None:
        """One row of losses after so many steps; none where nothing is held out."""
        if self._logs and losses:
            self._logs[1].append(self._row(done) | validation_figures(losses))

    def save(self, done: int, learner: RankLearner, feed: Feed) -> None:
        """A checkpoint of all that is needed to go on after so many steps, complete or absent."""
        path = checkpoint.begin(self.folder.path, done) if self._logs else checkpoint.folder_of(self.folder.path, done)
        learner.save(path)
        if self._logs:
            checkpoint.commit(path, {"step": done, "dtype": self.dtype, "feed": feed.state_dict()})
            checkpoint.prune(self.folder.path, self.keep_last)

    def _row(self, step: int) -> dict[str, Any]:
        return {"step": step, "stage": self.name, "attempt": self.attempt}


def figures(result: LmResult, seconds: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a step by their public names; memory and share of the peak are those of the first rank."""
    rate = result.tokens / seconds["step"]
    return {
        "loss": result.loss,
        "grad_norm": result.grad_norm,
        "learning_rate": result.learning_rate,
        "tokens": result.tokens,
        "tokens_trained": result.trained_tokens,
        "tokens_per_second": rate,
        "flops_share": rate * result.flops_per_token / result.peak_flops,
        "memory_gib": _peak_memory() / 2**30,
        **{f"time/{phase}": value for phase, value in seconds.items()},
    }


def validation_figures(losses: Mapping[str, StreamLoss]) -> dict[str, float]:
    """Mean loss a token, over all, by corpus, and by `CORPUS/LANGUAGE`, in nats."""
    sums: dict[str, tuple[float, int]] = {}
    for stream, own in losses.items():
        for name in ("loss", f"loss/{stream.partition('/')[0]}", f"loss/{stream}"):
            total, tokens = sums.get(name, (0.0, 0))
            sums[name] = total + own.total, tokens + own.tokens
    return {name: total / tokens for name, (total, tokens) in sums.items()} | {
        "tokens": sum(own.tokens for own in losses.values())
    }


def _peak_memory() -> int:
    """Bytes: of the device where there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
