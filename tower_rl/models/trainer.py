"""One data-parallel rank of reinforcement learning with DeepSpeed. Knows nothing of Ray; the process group is the caller's."""

from dataclasses import dataclass
from pathlib import Path

import torch.distributed as dist
from torch import Tensor

from tower_rl.config.schema import Policy
from tower_rl.losses.policy import Denominators, Objective, policy_loss
from tower_rl.models.engine import Rank, join
from tower_rl.models.load import load_model
from tower_rl.models.packed import PackedPolicy, scatter, score, tensor
from tower_rl.types import Batch, Floats, MicroBatch


@dataclass(frozen=True, slots=True)
class RankResult:
    """One rank's part of a step: `sums` and `tokens` add up over ranks, `largest` is a maximum."""

    sums: dict[str, float]
    largest: float
    tokens: int
    grad_norm: float


class Trainer(Rank):
    """A rank. Every method but the constructor is a collective: all ranks call it, in the same order."""

    def __init__(self, folder: Path, dtype: str, policy: Policy, *, seed: int) -> None:
        """Load the model and make the optimizer; torch.distributed's environment variables say who the others are."""
        join(seed)
        model = load_model(folder, dtype)
        if policy.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        super().__init__(PackedPolicy(model, policy.logprob_chunk), policy, dtype, folder)

    def update(self, batch: Batch, objective: Objective, learning_rate: float) -> RankResult:
        """One optimizer step."""
        result = self.accumulate(batch, objective)
        return RankResult(result.sums, result.largest, result.tokens, self.step(learning_rate))

    def accumulate(self, batch: Batch, objective: Objective) -> RankResult:
        """Forward and backward over the micro-batches; the gradients are those of the whole batch, over all ranks."""
        over = Denominators(dist.get_world_size(), batch.global_tokens, batch.global_rollouts)
        sums: dict[str, float] = {}
        largest, tokens, last = 0.0, 0, len(batch.micro_batches) - 1
        for i, micro_batch in enumerate(batch.micro_batches):
            self.engine.set_gradient_accumulation_boundary(i == last)
            loss, parts, peak = self._loss(micro_batch, batch.temperature, objective, over)
            self.engine.backward(loss, scale_wrt_gas=False)
            parts["loss"] = loss.detach() / over.ranks
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            largest = max(largest, peak)
            tokens += int((micro_batch.branches >= 0).sum())
        return RankResult(sums, largest, tokens, float("nan"))

    def _loss(
        self, micro_batch: MicroBatch, temperature: float, objective: Objective, over: Denominators
    ) -> tuple[Tensor, dict[str, Tensor], float]:
        logprobs, entropies = self.engine(micro_batch, temperature)
        padded = scatter(logprobs, micro_batch)
        device, reference = padded.device, micro_batch.reference_logprobs
        old, mask = tensor(micro_batch.old_logprobs, device), tensor(micro_batch.mask, device)
        loss, sums = policy_loss(
            objective,
            over,
            padded,
            old,
            None if reference is None else tensor(reference, device),
            tensor(micro_batch.advantages, device),
            mask,
        )
        sums["entropy"] = (scatter(entropies, micro_batch) * mask).sum()
        return loss, sums, float(((padded.detach() - old).abs() * mask).max())

    def probe(self, micro_batch: MicroBatch) -> Floats:
        """[B, T] log-probabilities at temperature 1."""
        return score(self.engine, micro_batch, 1.0)
