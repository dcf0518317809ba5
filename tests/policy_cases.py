"""Policy losses with their aggregations, and what verl's own functions make of a whole padded batch."""

from itertools import product

from verl.trainer.ppo import core_algos
from verl.workers.config import ActorConfig, PolicyLossConfig

from tower_rl.config.methods import LOSSES
from tower_rl.config.stages import LossOptions, RlvrStage

AGGREGATIONS = ("token-mean", "seq-mean-token-sum", "seq-mean-token-mean", "seq-mean-token-sum-norm")
COMBINATIONS = [(name, how) for name, how in product(LOSSES, AGGREGATIONS) if LOSSES[name].aggregation in (None, how)]

# Constants at which the choice of tokens cannot depend on the others of a micro-batch: none, or all of them.
CHOOSING = {"clip_cov": {"clip_cov_lb": 1e6, "clip_cov_ub": 1e7}, "kl_cov": {"kl_cov_ratio": 1.0}, "dro": {"dro_beta": 0.3}}


def stage(loss, aggregation, *, options=None, **more):
    divisor = 20 if aggregation == "seq-mean-token-sum-norm" else None
    options = LossOptions(**(CHOOSING.get(loss, {}) if options is None else options))
    fixed = {"name": "t", "kind": "rlvr", "steps": 1, "clip_low": 0.1, "clip_high": 0.15}
    return RlvrStage(**fixed, loss=loss, aggregation=aggregation, length_divisor=divisor, loss_options=options, **more)


def verl_loss(stage, new, old, reference, advantages, mask):
    """The loss [] through verl's functions alone; the batch is whole, so its own counts are the denominators."""
    options = stage.loss_options
    cov = {name: getattr(options, name) for name in PolicyLossConfig.__dataclass_fields__ if hasattr(options, name)}
    own = {name: getattr(options, name) for name in ("clip_ratio_c", "tau_pos", "tau_neg")}
    config = ActorConfig(
        strategy="fsdp", rollout_n=1, ppo_micro_batch_size_per_gpu=1, clip_ratio=0.1, clip_ratio_low=stage.clip_low,
        clip_ratio_high=stage.clip_high, policy_loss=PolicyLossConfig(**cov), **own,
    )  # fmt: skip
    scale = {} if stage.length_divisor is None else {"loss_scale_factor": stage.length_divisor}
    config.global_batch_info.update(scale)
    loss, _ = core_algos.get_policy_loss_fn(stage.loss)(
        old_log_prob=old, log_prob=new, advantages=advantages, response_mask=mask.float(), loss_agg_mode=stage.aggregation,
        config=config,
    )  # fmt: skip
    if stage.kl_coefficient:
        kl = core_algos.kl_penalty(new, reference, stage.kl_estimator)
        loss = loss + stage.kl_coefficient * core_algos.agg_loss(kl, mask.float(), stage.aggregation, **scale)
    return loss
