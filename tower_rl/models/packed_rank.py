"""One data-parallel rank that trains on responses which share their prompts; what it minimises is said by those who inherit."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor

from tower_rl.config.schema import Policy
from tower_rl.losses.logprobs import AlignedHead, LogprobHead
from tower_rl.models.adapters import adapters_off, inject
from tower_rl.models.engine import Rank, join
from tower_rl.models.packed import PackedPolicy, score, score_all
from tower_rl.models.sharded import load_for
from tower_rl.status import tracked
from tower_rl.types import Batch, Floats, MicroBatch


@dataclass(frozen=True, slots=True)
class RankResult:
    """One rank's part of a step: `sums` and `tokens` add up over ranks, `peaks` are maxima."""

    sums: dict[str, float]
    peaks: dict[str, float]
    tokens: int
    grad_norm: float


class PackedRank(Rank):
    """A rank. Every method but the constructor is a collective: all ranks call it, in the same order."""

    head: ClassVar[type[LogprobHead | AlignedHead]] = LogprobHead

    def __init__(self, folder: Path, dtype: str, policy: Policy, *, seed: int) -> None:
        """Load the model and make the optimizer; torch.distributed's environment variables say who the others are."""
        join(seed)
        model = load_for(policy, folder, dtype)
        module = PackedPolicy(model, policy.logprob_chunk, self.head)
        if policy.lora is not None:
            inject(model, policy.lora)
        if policy.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        super().__init__(module, policy, dtype, folder)

    def update(self, batch: Batch, objective: Any, learning_rate: float) -> RankResult:
        """One optimizer step."""
        result = self.accumulate(batch, objective)
        return RankResult(result.sums, result.peaks, result.tokens, self.step(learning_rate))

    def accumulate(self, batch: Batch, objective: Any) -> RankResult:
        """Forward and backward over the micro-batches; the gradients are those of the whole batch, over all ranks."""
        sums: dict[str, float] = {}
        peaks: dict[str, float] = {}
        tokens, last = 0, len(batch.micro_batches) - 1
        for i, micro_batch in enumerate(tracked("training", "micro-batch", batch.micro_batches)):
            self.engine.set_gradient_accumulation_boundary(i == last)
            loss, parts, largest = self.loss(micro_batch, batch, objective)
            self.engine.backward(loss, scale_wrt_gas=False)
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            for name, value in largest.items():
                peaks[name] = max(peaks.get(name, 0.0), float(value))
            tokens += len(micro_batch.token_ids)
        return RankResult(sums, peaks, tokens, float("nan"))

    def loss(self, micro_batch: MicroBatch, batch: Batch, objective: Any) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """Of a micro-batch, scaled such that the mean over ranks of the sums over micro-batches is the loss of the step.

        Returns:
            the loss [], sums (`loss` is this rank's part of the step's loss) and maxima over the micro-batch.
        """
        raise NotImplementedError

    def reference(self, batch: Batch) -> list[Floats]:
        """[B, T] log-probabilities of each micro-batch by the model that the adapters were put into."""
        with adapters_off(self.network):
            return self.score(batch)

    def score(self, batch: Batch) -> list[Floats]:
        """[B, T] log-probabilities of each micro-batch by the policy as it is now."""
        return score_all(self.engine, batch, "scoring")

    def probe(self, micro_batch: MicroBatch) -> Floats:
        """[B, T] log-probabilities at temperature 1."""
        return score(self.engine, micro_batch, 1.0)
