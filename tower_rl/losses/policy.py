"""The policy loss of one micro-batch, through verl's losses and KL penalties."""

from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised: a policy loss by verl's name, its clipping and aggregation, and a KL term."""

    loss: str
    aggregation: str
    clip_low: float
    clip_high: float
    kl_coefficient: float
    kl_estimator: str


@dataclass(frozen=True, slots=True)
class Denominators:
    """Counts over all micro-batches and ranks, so that the loss does not depend on how a batch was split."""

    ranks: int
    tokens: int
    rollouts: int


def policy_loss(
    objective: Objective,
    over: Denominators,
    logprobs: Tensor,
    old_logprobs: Tensor,
    reference_logprobs: Tensor | None,
    advantages: Tensor,
    mask: Tensor,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a micro-batch, scaled such that the mean over ranks of the sums over micro-batches is the loss of the batch.

    Args:
        objective: what to minimise.
        over: the global counts.
        logprobs: [B, T] of the current policy, with gradient; 0 where masked.
        old_logprobs: [B, T] of the policy that sampled.
        reference_logprobs: [B, T] of the reference, or None without a KL term.
        advantages: [B, T].
        mask: [B, T] True on response tokens.

    Returns:
        the loss [] and sums over this micro-batch's tokens: `clip_share`, `kl`, `mismatch/mean`, `mismatch/outside`.
    """
    info = {"dp_size": over.ranks, "batch_num_tokens": over.tokens, "global_batch_size": over.rollouts}
    config = ActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio=objective.clip_low,
        clip_ratio_low=objective.clip_low,
        clip_ratio_high=objective.clip_high,
    )
    config.global_batch_info.update(info)
    weight = mask.float()
    loss, _ = core_algos.get_policy_loss_fn(objective.loss)(
        old_log_prob=old_logprobs,
        log_prob=logprobs,
        advantages=advantages,
        response_mask=weight,
        loss_agg_mode=objective.aggregation,
        config=config,
    )
    sums = _ratio_sums(objective, logprobs.detach(), old_logprobs, advantages, mask)
    if reference_logprobs is not None:
        kl = core_algos.kl_penalty(cast("Any", logprobs), cast("Any", reference_logprobs), objective.kl_estimator)
        loss = loss + objective.kl_coefficient * core_algos.agg_loss(kl, weight, objective.aggregation, **info)
        sums["kl"] = (kl.detach() * weight).sum()
    return loss, sums


def _ratio_sums(
    objective: Objective, logprobs: Tensor, old_logprobs: Tensor, advantages: Tensor, mask: Tensor
) -> dict[str, Tensor]:
    """Counts of clipped tokens and of tokens on which engine and trainer differ."""
    difference = logprobs - old_logprobs
    ratio = difference.exp()
    clipped = torch.where(advantages > 0, ratio > 1 + objective.clip_high, (ratio < 1 - objective.clip_low) & (advantages < 0))
    outside = (ratio < 0.8) | (ratio > 1.25)
    return {
        "clip_share": (clipped & mask).sum(),
        "mismatch/mean": (difference.abs() * mask).sum(),
        "mismatch/outside": (outside & mask).sum(),
    }
