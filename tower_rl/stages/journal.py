"""What a stage leaves behind: metrics, rollouts, checkpoints, and a line on the screen."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tower_rl import checkpoint
from tower_rl.files import replace_text
from tower_rl.protocols import Checkpointed, Positioned
from tower_rl.reporting.html import write_report
from tower_rl.reporting.metrics import MetricsLog, read
from tower_rl.reporting.progress import Progress
from tower_rl.reporting.rollouts import write_rollouts
from tower_rl.reporting.verdicts import by_verifier, verdict_figures
from tower_rl.runfolder import RunFolder, StageFolder
from tower_rl.stages.candidates import Skip
from tower_rl.staleness import staleness_figures
from tower_rl.stopping import Stop
from tower_rl.types import Advantages, Group, ScoredGroup, StepResult


@dataclass(frozen=True, slots=True)
class Step:
    """All that a step made."""

    version: int
    """Of the weights that the step made; it trained the one before."""
    scored: Sequence[ScoredGroup]
    advantages: Sequence[Advantages]
    result: StepResult
    probe: Mapping[str, float]
    seconds: Mapping[str, float]
    refills: int = 0
    """Rounds of sampling after the first."""
    skipped: Sequence[Skip] = ()
    """Prompts that were passed over."""


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
        self.stop = Stop()
        self.metrics = MetricsLog(folder.metrics)
        newest = checkpoint.latest(folder.path)
        self.first = checkpoint.step_of(newest) if newest else 0
        self.metrics.supersede(self.first - 1)

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

    async def resume(self, learner: Checkpointed, stream: Positioned) -> tuple[int, int]:
        """Bring learner and stream to the newest checkpoint; answers the version to sample with and the next step."""
        state = self.newest()
        if state is None:
            return self.next_version(0), 0
        await learner.load(state.folder)
        stream.load_state_dict(state.stream)
        return self.next_version(state.version), state.step

    def write(self, step: int, figures: Mapping[str, Any]) -> None:
        """One row of metrics, one line on the screen."""
        row = {**self.about(step), **figures}
        self.metrics.append(row)
        self.show(row)
        if step == self.first:
            write_report(self.run.path)

    def about(self, step: int) -> dict[str, Any]:
        """What each row begins with."""
        return {"step": step, "stage": self.name, "attempt": self.run.attempt}

    def show(self, row: Mapping[str, Any]) -> None:
        """Put a row on the screen."""
        self.progress.step(row, self.steps)

    def due(self, done: int, every: int) -> bool:
        """Whether a checkpoint is made after so many steps: regularly, at the end, and when the run shall end early."""
        return done % every == 0 or done == self.steps or self.stop.wished

    async def save(self, learner: Checkpointed, stream: Mapping[str, Any], step: int, version: int) -> None:
        """A checkpoint of all that is needed to go on at `step`, complete or absent; `stream` is its state at that step.

        Raises Stopped if the run shall end early.
        """
        path = checkpoint.begin(self.folder.path, step)
        await learner.save(path)
        checkpoint.commit(path, {"step": step, "version": version, "dtype": self.run.dtype, "stream": dict(stream)})
        checkpoint.prune(self.folder.path, self.keep_last)
        self.run.record_checkpoints()
        write_report(self.run.path)
        self.stop.heed()


class RlvrJournal(Journal):
    """Keeps rollouts, too, and tells which prompts were passed over."""

    def __init__(self, run: RunFolder, folder: StageFolder, name: str, steps: int, keep_last: int, progress: Progress) -> None:
        """Moves aside the rollouts past the newest checkpoint, too."""
        super().__init__(run, folder, name, steps, keep_last, progress)
        folder.supersede_rollouts(self.first, run.attempt - 1)
        self.skips = MetricsLog(folder.skipped)
        self.skips.supersede(self.first - 1)

    def keep(self, step: int, scored: Sequence[ScoredGroup], trained: Sequence[Group], advantages: Sequence[Advantages]) -> None:
        """The rollouts of a step, before anything can go wrong with them."""
        write_rollouts(self.folder.rollouts(step), step, scored, aligned(scored, trained, advantages))

    def skip(self, step: int, skipped: Sequence[Skip]) -> None:
        """One row a prompt that the step passed over: its cursor, and how its last group came out."""
        for skip in skipped:
            prompt, record = skip.prompt, skip.record
            place = {"cursor": prompt.cursor, "source": prompt.source, "prompt_id": prompt.id}
            self.skips.append({**self.about(step), **place, "mean": record.mean, "std": record.std, "rest": record.rest})


class PreferenceJournal(Journal):
    """Validates on held-out pairs, and tells of rounds."""

    def __init__(self, run: RunFolder, folder: StageFolder, name: str, steps: int, keep_last: int, progress: Progress) -> None:
        """Opens the log of validations, too; none stands before the first step's checkpoint."""
        super().__init__(run, folder, name, steps, keep_last, progress)
        self.validations = MetricsLog(folder.validation)
        self.validations.supersede(self.first or -1)

    def show(self, row: Mapping[str, Any]) -> None:
        """See Journal."""
        self.progress.preference_step(row, self.steps)

    def validation(self, done: int, figures: Mapping[str, Any]) -> None:
        """One row after so many steps."""
        row = {**self.about(done), **figures}
        self.validations.append(row)
        self.progress.preference_validation(row)

    def about_round(self) -> dict[str, Any]:
        """What the summary of a round begins with."""
        return {"stage": self.name, "attempt": self.run.attempt}

    def show_round(self, summary: Mapping[str, Any]) -> None:
        """Put a round on the screen whose pairs have just been built."""
        self.progress.pairs(summary)

    def write_rounds(self) -> None:
        """One row for each round whose pairs stand."""
        files = sorted(self.folder.pairs.glob("round-*/round.json"), key=lambda path: int(path.parent.name.partition("-")[2]))
        replace_text(self.folder.rounds, "".join(path.read_text(encoding="utf-8") for path in files))


def figures(step: Step) -> dict[str, float]:
    """The metrics of a step by their public names."""
    verdicts = [v for g in step.scored for v in g.verdicts]
    rollouts = [r for g in step.scored for r in g.rollouts]
    seconds = step.seconds
    result = step.result
    return {
        "reward/mean": _mean(v.score for v in verdicts),
        **shaped_figures(step.scored),
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
        **group_figures(step),
        **staleness_figures(step.scored, step.version - 1),
        "policy_version": step.version,
        **{f"time/{phase}": value for phase, value in seconds.items()},
    }


def group_figures(step: Step) -> dict[str, float]:
    """Where the groups of a step went. Those without variance, of all that were sampled, have equal scores."""
    known = [[v.score for v in group.verdicts if v.score is not None] for group in step.scored]
    return {
        "groups/sampled": len(step.scored),
        "groups/trained": len(step.advantages),
        "groups/dropped": len(step.scored) - len(step.advantages),
        "groups/without_variance": sum(len(set(scores)) == 1 for scores in known) / len(known),
        "groups/refills": step.refills,
        "prompts/skipped": len(step.skipped),
    }


def shaped_figures(scored: Sequence[ScoredGroup]) -> dict[str, float]:
    """The mean reward less the penalties for length, where there are some."""
    if all(group.penalties is None for group in scored):
        return {}
    return {"reward/shaped": _mean(reward for group in scored for reward in group.rewards)}


def aligned(
    scored: Sequence[ScoredGroup], trained: Sequence[Group], advantages: Sequence[Advantages]
) -> list[list[float | None]]:
    """For each scored group the advantage of each rollout (the mean over its tokens); None where it was not trained on."""
    pairs = [pair for g, values in zip(trained, advantages, strict=True) for pair in zip(g.rollouts, values, strict=True)]
    by_rollout = {id(rollout): float(np.mean(values)) for rollout, values in pairs}
    return [[by_rollout.get(id(r)) for r in group.rollouts] for group in scored]


def _mean(values: Any) -> float:
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else float("nan")
