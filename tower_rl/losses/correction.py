"""Rollout correction of one micro-batch, through verl: what a token counts that another policy sampled.

Three policies take part (arXiv 2110.00641): the one that sampled, the one at the beginning of the step (old, the centre of the
clipping), and the one that is trained. The loss has the ratio of the last two; the ratio of the first two is corrected here.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from verl.trainer.ppo import core_algos
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_weights, compute_rollout_rejection_mask

from tower_rl.config.stages import Correction, Rejection

REJECTIONS = {"token": "token_k1", "sequence": "seq_sum_k1", "geometric": "seq_mean_k1"}
"""verl's names of the ratios that are held against the bounds."""


@dataclass(frozen=True, slots=True)
class Corrected:
    """What the tokens of a micro-batch count, and how far the old policy is from the one that sampled."""

    weights: Tensor
    """[B, T] factors of the policy loss, 0 where rejected; without gradient."""
    kept: Tensor
    """[B, T] response tokens that were not rejected."""
    sums: dict[str, Tensor]
    """Over response tokens: `mismatch/*`, `correction/*`."""
    peaks: dict[str, Tensor]
    """Maxima over response tokens."""


def correct(correction: Correction | None, old: Tensor, rollout: Tensor, mask: Tensor) -> Corrected:
    """Weights and rejections, each from values of its own row only; without a correction every token counts 1.

    Args:
        correction: what to do.
        old: [B, T] log-probabilities of the policy at the beginning of the step.
        rollout: [B, T] of the policy that sampled.
        mask: [B, T] True on response tokens.
    """
    difference = (old - rollout) * mask
    weights, truncated, kept = torch.ones_like(difference), torch.zeros_like(mask), mask
    if correction is not None and mask.any():  # verl refuses micro-batches of weight zero
        if correction.weights != "none":
            weights, _ = compute_rollout_correction_weights(
                difference, mask.float(), rollout_is=correction.weights, rollout_is_threshold=correction.truncate
            )
            truncated = (weights >= correction.truncate) & mask
        if correction.reject is not None:
            kept = _kept(correction.reject, difference, mask)
    weights = weights * kept
    sums = {
        **mismatch(difference, mask),
        "correction/weight": weights.sum(),
        "correction/truncated": truncated.sum(),
        "correction/rejected": (mask & ~kept).sum(),
        "correction/kl": (core_algos.kl_penalty(rollout, old, "k3") * mask).sum(),  # type: ignore[arg-type]
    }
    return Corrected(weights, kept, sums, {"mismatch/max": difference.abs().max(), "correction/weight/max": weights.max()})


def _kept(reject: Rejection, difference: Tensor, mask: Tensor) -> Tensor:
    # verl bounds the ratio of the sampler to the old policy, the reciprocal of the weights' ratio
    kept, _ = compute_rollout_rejection_mask(
        difference,
        mask.float(),
        rollout_rs=REJECTIONS[reject.ratio],
        rollout_rs_threshold=f"{1 / reject.high!r}_{1 / reject.low!r}",
    )
    return kept.bool()


def mismatch(difference: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Sums over response tokens of what engine and trainer differ by, and of those whose ratio is outside [0.8, 1.25].

    Args:
        difference: [B, T] of log-probabilities of the same tokens under what should be the same policy.
        mask: [B, T] True on response tokens.
    """
    ratio = difference.exp()
    outside = (ratio < 0.8) | (ratio > 1.25)
    return {"mismatch/mean": (difference.abs() * mask).sum(), "mismatch/outside": (outside & mask).sum()}
