"""What the scores of a group say about its prompt: whether it teaches now, and whether to ask it again soon."""

from collections.abc import Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

import numpy as np

from tower_rl.config.sampling import Difficulty
from tower_rl.config.stages import RlvrStage
from tower_rl.types import Prompt, ScoredGroup, StopReason


def teaches(group: ScoredGroup, stage: RlvrStage) -> bool:
    """Whether a step trains on the group: always, unless dynamic sampling has its conditions (DAPO, arXiv 2503.14476, eq. 11).

    They are about the verifier's scores. Rewards would make the penalty for length alone a reason to keep a group whose
    answers are all right or all wrong.
    """
    if stage.dynamic_sampling is None:
        return True
    valid = [(v.score, r.stop_reason) for v, r in zip(group.verdicts, group.rollouts, strict=True) if v.score is not None]
    scores = [score for score, _ in valid]
    masked = stage.overlong is not None and stage.overlong.mask
    return bool(
        len(set(scores)) > 1
        and stage.dynamic_sampling.min_mean <= np.mean(scores) <= stage.dynamic_sampling.max_mean
        and not (masked and all(reason is StopReason.LENGTH for _, reason in valid))
    )


@dataclass(frozen=True, slots=True)
class Record:
    """What is known about a prompt."""

    visits: int
    """Groups with two valid verdicts or more so far."""
    mean: float
    """Mean score of the last of them."""
    std: float
    """Standard deviation of its scores, over G."""
    barren: int
    """How many of them, back from the last, taught nothing."""
    rest: int
    """How many more times the prompt is passed over."""


class History:
    """The records of all prompts that were sampled. Its decisions are a function of what it was told, and of nothing else."""

    def __init__(self, difficulty: Difficulty) -> None:
        self._difficulty = difficulty
        self._records: dict[tuple[str, str], Record] = {}

    def pass_over(self, prompt: Prompt) -> Record | None:
        """The record of a prompt that rests, whose rest is shorter by one from now on; None when it is to be sampled."""
        key = (prompt.source, prompt.id)
        record = self._records.get(key)
        if record is None or record.rest == 0:
            return None
        self._records[key] = replace(record, rest=record.rest - 1)
        return record

    def observe(self, group: ScoredGroup) -> None:
        """Take down what a group was like. One with fewer than two valid verdicts says nothing."""
        scores = [v.score for v in group.verdicts if v.score is not None]
        if len(scores) < 2:
            return
        rule, key = self._difficulty, (group.prompt.source, group.prompt.id)
        mean, std = float(np.mean(scores)), float(np.std(scores))
        before = self._records.get(key, Record(0, 0.0, 0.0, 0, 0))
        barren = before.barren + 1 if std <= rule.min_std or not rule.hopeless < mean < rule.solved else 0
        self._records[key] = Record(before.visits + 1, mean, std, barren, rule.rest if barren >= rule.visits else 0)

    def state_dict(self) -> list[list[Any]]:
        """One row a prompt, as JSON holds it."""
        return [[*key, *astuple(record)] for key, record in self._records.items()]

    def load_state_dict(self, state: Sequence[Sequence[Any]]) -> None:
        """Go on from what `state_dict` gave."""
        self._records = {(source, name): Record(*values) for source, name, *values in state}
