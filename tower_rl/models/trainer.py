"""One data-parallel rank of reinforcement learning with DeepSpeed. Knows nothing of Ray; the process group is the caller's."""

import torch.distributed as dist
from torch import Tensor

from tower_rl.losses.correction import correct
from tower_rl.losses.policy import Denominators, Objective, policy_loss
from tower_rl.models.packed import scatter, tensor
from tower_rl.models.packed_rank import PackedRank, RankResult
from tower_rl.types import Batch, MicroBatch

__all__ = ["RankResult", "Trainer"]


class Trainer(PackedRank):
    """A rank. Every method but the constructor is a collective: all ranks call it, in the same order."""

    def loss(
        self, micro_batch: MicroBatch, batch: Batch, objective: Objective
    ) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """See PackedRank.loss; sums are over response tokens."""
        over = Denominators(dist.get_world_size(), batch.global_tokens, batch.global_rollouts)
        logprobs, entropies = self.engine(micro_batch, batch.temperature)
        padded = scatter(logprobs, micro_batch)
        device, reference, rollout = padded.device, micro_batch.reference_logprobs, micro_batch.rollout_logprobs
        old, mask = tensor(micro_batch.old_logprobs, device), tensor(micro_batch.mask, device)
        corrected = None if rollout is None else correct(objective.correction, old, tensor(rollout, device), mask)
        loss, sums = policy_loss(
            objective,
            over,
            padded,
            old,
            None if reference is None else tensor(reference, device),
            tensor(micro_batch.advantages, device),
            mask,
            corrected,
        )
        sums["entropy"] = (scatter(entropies, micro_batch) * mask).sum()
        sums["loss"] = loss.detach() / over.ranks
        peaks = {"mismatch/max": ((padded.detach() - old).abs() * mask).max()} if corrected is None else corrected.peaks
        return loss, sums, peaks
