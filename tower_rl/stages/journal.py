"""What a stage leaves behind: metrics, rollouts, checkpoints, and a line on the screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tower_rl import checkpoint
from tower_rl.data.stream import PromptStream
from tower_rl.protocols import Learner
from tower_rl.reporting.html import write_report
from tower_rl.reporting.metrics import MetricsLog, read
from tower_rl.reporting.progress import Progress
from tower_rl.reporting.rollouts import write_rollouts
from tower_rl.reporting.verdicts import by_verifier, verdict_figures
from tower_rl.runfolder import RunFolder, StageFolder
from tower_rl.types import Floats, Group, ScoredGroup, StepResult


@dataclass(frozen=True, slots=True)
class Step:
    """All that a step made."""

    number: int
    version: int
    scored: Sequence[ScoredGroup]
    advantages: Sequence[Floats]
    result: StepResult
    probe: Mapping[str, float]
    seconds: Mapping[str, float]


@dataclass(frozen=True, slots=True)
class Saved:
    """Where to go on."""

    folder: Path
    step: int
    version: int
    stream: dict[str, Any]


class Journal:
    """Writes one stage into its folder."""

    def __init__(self, run: RunFolder, folder: StageFolder, name: str, steps: int, keep_last: int, progress: Progress) -> None:
        """Opens the stage's metrics; rows past the newest checkpoint are marked superseded."""
        self.run, self.folder, self.name = run, folder, name
        self.steps, self.keep_last, self.progress = steps, keep_last, progress
        self.metrics = MetricsLog(folder.metrics)
        newest = checkpoint.latest(folder.path)
        first = checkpoint.step_of(newest) if newest else 0
        self.metrics.supersede(first - 1)
        folder.supersede_rollouts(first, run.attempt - 1)

    def newest(self) -> Saved | None:
        """The newest complete checkpoint, its digests checked."""
        path = checkpoint.latest(self.folder.path)
        if path is None:
            return None
        checkpoint.verify(path)
        state = checkpoint.read_state(path)
        return Saved(path, state["step"], state["version"], state["stream"])

    def next_version(self, saved: int) -> int:
        """A policy version above all that this stage ever used: after a rollback versions are not used again."""
        used = [int(row["policy_version"]) for row in read(self.folder.metrics, superseded=True)]
        return max([saved, *(v + 1 for v in used)])

    def keep(self, step: int, scored: Sequence[ScoredGroup], trained: Sequence[Group], advantages: Sequence[Floats]) -> None:
        """The rollouts of a step, before anything can go wrong with them."""
        write_rollouts(self.folder.rollouts(step), step, scored, aligned(scored, trained, advantages))

    def write(self, step: Step) -> None:
        """One row of metrics, one line on the screen."""
        row = {"step": step.number, "stage": self.name, "attempt": self.run.attempt, **figures(step)}
        self.metrics.append(row)
        self.progress.step(row, self.steps)

    async def save(self, learner: Learner, stream: PromptStream, step: int, version: int) -> None:
        """A checkpoint of all that is needed to go on at `step`, complete or absent."""
        path = checkpoint.begin(self.folder.path, step)
        await learner.save(path)
        checkpoint.commit(path, {"step": step, "version": version, "stream": stream.state_dict()})
        checkpoint.prune(self.folder.path, self.keep_last)
        self.run.record_checkpoints()
        write_report(self.run.path)


def figures(step: Step) -> dict[str, float]:
    """The metrics of a step by their public names."""
    verdicts = [v for g in step.scored for v in g.verdicts]
    rollouts = [r for g in step.scored for r in g.rollouts]
    seconds = step.seconds
    result = step.result
    return {
        "reward/mean": _mean(v.score for v in verdicts),
        **{f"reward/{name}": _mean(v.score for v in own) for name, own in by_verifier(step.scored).items()},
        **verdict_figures(step.scored),
        "invalid_rate": sum(v.score is None for v in verdicts) / len(verdicts),
        "loss": result.loss,
        "grad_norm": result.grad_norm,
        "learning_rate": result.learning_rate,
        **result.metrics,
        **step.probe,
        "tokens": result.tokens,
        "tokens_generated": sum(len(r.token_ids) for r in rollouts),
        "length/mean": float(np.mean([len(r.token_ids) for r in rollouts])),
        "length/cut_share": float(np.mean([r.stop_reason == "length" for r in rollouts])),
        "groups/without_variance": sum(float(np.ptp(a)) == 0 for a in step.advantages) / len(step.advantages),
        "policy_version": step.version,
        **{f"time/{phase}": value for phase, value in seconds.items()},
    }


def aligned(scored: Sequence[ScoredGroup], trained: Sequence[Group], advantages: Sequence[Floats]) -> list[list[float | None]]:
    """For each scored group the advantage of each rollout; None where it was not trained on."""
    by_rollout = {
        id(r): float(a) for g, values in zip(trained, advantages, strict=True) for r, a in zip(g.rollouts, values, strict=True)
    }
    return [[by_rollout.get(id(r)) for r in group.rollouts] for group in scored]


def _mean(values: Any) -> float:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else float("nan")
