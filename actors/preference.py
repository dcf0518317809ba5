"""DeepSpeed ranks of preference optimization as Ray actors, and the PreferenceLearner over them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import sqrt
from typing import Any

from actors.group import Actor
from actors.policy import PolicyRank, Ranks, added
from tower_rl.config.schema import Policy
from tower_rl.config.stages import PreferenceStage
from tower_rl.types import Batch, StepResult


class PreferenceRank(PolicyRank):
    """One rank. Its methods are collectives over all ranks."""

    def trained(self) -> Any:
        """See PolicyRank."""
        from tower_rl.models.preference import PreferenceTrainer

        return PreferenceTrainer

    def evaluate(self, batch: Batch, objective: Any) -> Mapping[str, float]:
        """See PreferenceTrainer.evaluate."""
        sums: Mapping[str, float] = self.trainer.evaluate(batch, objective)
        return sums

    def log_ratios(self, batch: Batch) -> float:
        """See PreferenceTrainer.log_ratios."""
        return float(self.trainer.log_ratios(batch))


class PreferenceRanks(Ranks):
    """A PreferenceLearner over W ranks."""

    def __init__(self, actors: Sequence[Actor], policy: Policy, stage: PreferenceStage) -> None:
        super().__init__(actors, policy, stage.steps)
        self.stage = stage

    async def update(self, batches: Sequence[Batch], step: int) -> StepResult:
        """See tower_rl.protocols.PreferenceLearner."""
        result, sums = await self.step(batches, self._objective(), step)
        return replace(result, metrics=_means(sums))

    async def evaluate(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        """See tower_rl.protocols.PreferenceLearner."""
        objective = self._objective()
        answers = await self.all("validation of policy rank", lambda h, batch: h.evaluate.remote(batch, objective), batches)
        sums = added(answers)
        return {"loss": sums.pop("loss"), **_means(sums)}

    async def divergence(self, batches: Sequence[Batch]) -> float:
        """See tower_rl.protocols.PreferenceLearner."""
        answers = await self.all("log-ratios of policy rank", lambda h, batch: h.log_ratios.remote(batch), batches)
        return float(sum(answers)) / batches[0].global_rollouts

    def _objective(self) -> Any:
        from tower_rl.losses.preference import Objective, Weighting

        stage, weighting = self.stage, self.stage.weighting
        return Objective(
            loss=stage.loss,
            beta=stage.beta,
            label_smoothing=stage.label_smoothing,
            margin=stage.margin,
            weighting=None if weighting is None else Weighting(weighting.alignment, weighting.clamp),
            nll_weight=stage.nll_weight,
        )


def _means(sums: Mapping[str, float]) -> dict[str, float]:
    """Over pairs; of the weights also the standard deviation, and shares in place of numbers."""
    pairs = sums["pairs"]
    means = {name: value / pairs for name, value in sums.items() if name not in ("pairs", "weight", "weight/square")}
    if "weight" in sums:
        mean = sums["weight"] / pairs
        means |= {"weight/mean": mean, "weight/std": sqrt(max(0.0, sums["weight/square"] / pairs - mean**2))}
    return {"pairs": int(pairs), **means}
