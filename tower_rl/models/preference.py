"""One data-parallel rank of preference optimization with DeepSpeed. Knows nothing of Ray; the process group is the caller's."""

from collections.abc import Mapping

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor

from tower_rl.losses.logprobs import AlignedHead
from tower_rl.losses.preference import Objective, Scores, Whole, log_ratio, preference_loss
from tower_rl.models.packed import scatter, tensor
from tower_rl.models.packed_rank import PackedRank
from tower_rl.status import tracked
from tower_rl.types import Batch, MicroBatch


class PreferenceTrainer(PackedRank):
    """A rank. Every method but the constructor is a collective: all ranks call it, in the same order."""

    head = AlignedHead

    def loss(
        self, micro_batch: MicroBatch, batch: Batch, objective: Objective
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """See PackedRank.loss; sums are over pairs (see preference_loss)."""
        whole = Whole(dist.get_world_size(), batch.global_rollouts // 2, batch.divergence)
        loss, sums = preference_loss(objective, whole, *self._sides(micro_batch, batch, objective))
        sums["loss"] = loss.detach() / whole.ranks
        return loss, sums, {}

    @torch.no_grad()
    def evaluate(self, batch: Batch, objective: Objective) -> Mapping[str, float]:
        """The sums of `loss` over this rank's micro-batches, without training on them."""
        sums: dict[str, float] = {}
        for micro_batch in tracked("validating", "micro-batch", batch.micro_batches):
            for name, value in self.loss(micro_batch, batch, objective)[1].items():
                sums[name] = sums.get(name, 0.0) + float(value)
        return sums

    @torch.no_grad()
    def log_ratios(self, batch: Batch) -> float:
        """Sum over this rank's answers of log p(y) - log p_reference(y), whatever prompts they are put to."""
        total = 0.0
        for micro_batch in tracked("scoring", "micro-batch", batch.micro_batches):
            logprobs, *_ = self.engine(micro_batch, batch.temperature)
            rows = _answers(micro_batch, logprobs.device)
            total += float(log_ratio(_scores(micro_batch, scatter(logprobs, micro_batch), None, rows)).sum())
        return total

    def _sides(self, micro_batch: MicroBatch, batch: Batch, objective: Objective) -> tuple[Scores, Scores]:
        """Chosen and rejected answers, which stand in turn in a micro-batch of pairs."""
        logprobs, sampled, greedy = self.engine(micro_batch, batch.temperature)
        by_alignment = {"sampled": sampled, "greedy": greedy}
        aligned = by_alignment.get(objective.weighting.alignment) if objective.weighting else None
        padded = scatter(logprobs, micro_batch)
        weighed = None if aligned is None else scatter(aligned, micro_batch)
        rows = _answers(micro_batch, padded.device)
        return _scores(micro_batch, padded, weighed, rows[0::2]), _scores(micro_batch, padded, weighed, rows[1::2])


def _answers(micro_batch: MicroBatch, device: torch.device) -> Tensor:
    """Rows that are answers: a micro-batch that only makes up the number of passes has one that is none."""
    return tensor(np.flatnonzero(micro_batch.mask.any(-1)), device)


def _scores(micro_batch: MicroBatch, logprobs: Tensor, aligned: Tensor | None, rows: Tensor) -> Scores:
    reference, device = micro_batch.reference_logprobs, logprobs.device
    return Scores(
        logprobs[rows],
        tensor(micro_batch.mask, device)[rows],
        None if reference is None else tensor(reference, device)[rows],
        None if aligned is None else aligned[rows],
    )
