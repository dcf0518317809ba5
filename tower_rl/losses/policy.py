"""The policy loss of one micro-batch, through verl's losses and KL penalties."""

from dataclasses import dataclass, field
from typing import Any, cast

from torch import Tensor
from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig, PolicyLossConfig

from tower_rl.config.stages import Correction, LossOptions, RlvrStage
from tower_rl.losses.correction import Corrected, mismatch


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised: a policy loss by verl's name, its clipping and aggregation, a KL term, and the rollout correction."""

    loss: str
    aggregation: str
    clip_low: float
    clip_high: float
    kl_coefficient: float
    kl_estimator: str
    options: LossOptions = field(default_factory=LossOptions)
    length_divisor: int | None = None
    """Tokens by which seq-mean-token-sum-norm divides."""
    correction: Correction | None = None

    @classmethod
    def of(cls, stage: RlvrStage) -> "Objective":
        """What a stage minimises."""
        return cls(
            loss=stage.loss,
            aggregation=stage.aggregation,
            clip_low=stage.clip_low,
            clip_high=stage.clip_high,
            kl_coefficient=stage.kl_coefficient,
            kl_estimator=stage.kl_estimator,
            options=stage.loss_options,
            length_divisor=stage.length_divisor,
            correction=stage.rollout_correction,
        )


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
    corrected: Corrected | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a micro-batch, scaled such that the mean over ranks of the sums over micro-batches is the loss of the batch.

    Args:
        objective: what to minimise.
        over: the global counts.
        logprobs: [B, T] of the current policy, with gradient; 0 where masked.
        old_logprobs: [B, T] of the policy that sampled; with `corrected`, of the policy at the beginning of the step.
        reference_logprobs: [B, T] of the reference, or None without a KL term.
        advantages: [B, T].
        mask: [B, T] True on response tokens.
        corrected: what each token counts. Rejected ones are tokens of weight 0: they stay in the denominators.

    Returns:
        the loss [], `scored` tokens of this micro-batch, and sums over them: `clip_share`, `kl`, `mismatch/mean`,
        `mismatch/outside`, and those of the correction.
    """
    info: dict[str, Any] = {
        "dp_size": over.ranks,
        "batch_num_tokens": over.tokens,
        "global_batch_size": over.rollouts,
        "loss_scale_factor": objective.length_divisor,
    }
    weight = mask.float()
    loss, told = core_algos.get_policy_loss_fn(objective.loss)(
        old_log_prob=old_logprobs,
        log_prob=logprobs,
        advantages=advantages,
        response_mask=weight,
        loss_agg_mode=objective.aggregation,
        config=_config(objective, info),
        rollout_is_weights=None if corrected is None else corrected.weights,
    )
    if objective.loss == "geo_mean":  # verl takes the mean over the rows of the micro-batch, whatever the global counts
        loss = loss * len(mask) * over.ranks / over.rollouts
    sums = mismatch(logprobs.detach() - old_logprobs, mask) | {"scored": mask.sum()}
    clipped = told.get("actor/pg_clipfrac", 0.0) * weight.sum()  # a share of the micro-batch; losses that do not clip tell none
    sums["clip_share"] = clipped.round()
    if corrected is not None:
        sums |= corrected.sums
    if reference_logprobs is not None:
        kl = core_algos.kl_penalty(cast("Any", logprobs), cast("Any", reference_logprobs), objective.kl_estimator)
        counted = kl if corrected is None else kl * corrected.kept
        loss = loss + objective.kl_coefficient * core_algos.agg_loss(counted, weight, objective.aggregation, **info)
        sums["kl"] = (kl.detach() * weight).sum()
    return loss, sums


def _config(objective: Objective, info: dict[str, Any]) -> ActorConfig:
    options = objective.options
    config = ActorConfig(
        strategy="fsdp",
        rollout_n=1,
        ppo_micro_batch_size_per_gpu=1,
        clip_ratio=objective.clip_low,
        clip_ratio_low=objective.clip_low,
        clip_ratio_high=objective.clip_high,
        clip_ratio_c=options.clip_ratio_c,
        tau_pos=options.tau_pos,
        tau_neg=options.tau_neg,
        policy_loss=PolicyLossConfig(
            clip_cov_ratio=options.clip_cov_ratio,
            clip_cov_lb=options.clip_cov_lb,
            clip_cov_ub=options.clip_cov_ub,
            kl_cov_ratio=options.kl_cov_ratio,
            ppo_kl_coef=options.ppo_kl_coef,
            dro_beta=options.dro_beta,
        ),
    )
    config.global_batch_info.update(info)
    return config
