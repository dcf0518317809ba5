"""verl's advantage estimators and policy losses by name (verl 0.9.1, trainer/ppo/core_algos.py): what each needs and heeds, why
some are refused, and the rules that follow. Tests hold the tables against verl. docs/algorithms.md has them for readers."""

from collections.abc import Iterator
from dataclasses import dataclass

from tower_rl.config.schema import Config
from tower_rl.config.stages import Correction, LossOptions, RlvrStage
from tower_rl.config.tree import KeyPath
from tower_rl.config.words import listed, show


@dataclass(frozen=True, slots=True)
class Advantage:
    """An estimator's inputs, besides the rewards."""

    fewest: int
    """Rollouts of a prompt that it needs: 2 where it compares them."""
    tokens: bool = False
    """Whether it needs lengths of responses: it weighs by them, or computes over tokens."""
    relative: bool = True
    """Whether only differences between the rewards of a prompt count, of which there are two at least then."""
    per_token: bool = False
    """Whether the tokens of a response may have different advantages."""
    heeds: tuple[str, ...] = ()
    """Keys of the stage that change it."""


@dataclass(frozen=True, slots=True)
class Loss:
    """What a loss heeds."""

    clips: bool = True
    """Whether `clip_low` and `clip_high` mean something to it."""
    options: tuple[str, ...] = ()
    """Keys of `loss_options` that change it."""
    aggregation: str | None = None
    """The only aggregation that it knows; None where it heeds the key."""
    splits: bool = True
    """Whether it is the same however a batch is split into micro-batches."""
    silent: bool = True
    """Whether tokens of advantage 0 have no gradient, and change that of no other."""


ADVANTAGES = {
    "grpo": Advantage(2, heeds=("normalize_by_std",)),
    "grpo_vectorized": Advantage(2, heeds=("normalize_by_std",)),
    "grpo_passk": Advantage(2, heeds=("normalize_by_std",)),
    "gdpo": Advantage(2, tokens=True, heeds=("normalize_by_std", "reward_parts")),
    "rloo": Advantage(2),
    "rloo_vectorized": Advantage(2),
    "reinforce_plus_plus": Advantage(1, tokens=True, relative=False, per_token=True, heeds=("gamma",)),
    "reinforce_plus_plus_baseline": Advantage(2, tokens=True),
    "opo": Advantage(2, tokens=True),
    "gpg": Advantage(2, relative=False),
}
LOSSES = {
    "vanilla": Loss(options=("clip_ratio_c",)),
    "gspo": Loss(),
    "cispo": Loss(),
    "sapo": Loss(clips=False, options=("tau_pos", "tau_neg"), aggregation="seq-mean-token-mean"),
    "geo_mean": Loss(aggregation="seq-mean-token-mean"),
    "clip_cov": Loss(options=("clip_cov_ratio", "clip_cov_lb", "clip_cov_ub"), splits=False, silent=False),
    "kl_cov": Loss(clips=False, options=("kl_cov_ratio", "ppo_kl_coef"), splits=False, silent=False),
    "dppo_tv": Loss(options=("clip_ratio_c",)),
    "dppo_kl": Loss(options=("clip_ratio_c",)),
    "gpg": Loss(clips=False),
    "dro": Loss(clips=False, options=("dro_beta",), silent=False),
}

_LATER = "comes with a later release"

REFUSED_ADVANTAGES = {
    "gae": f"{_LATER}: it needs the values of a critic",
    "remax": f"{_LATER}: it needs the rewards of greedy baselines",
    "optimal_token_baseline": f"{_LATER}: it needs the sum of squared probabilities of every token",
    "tir_optimal_token_baseline": f"{_LATER}: it needs the sum of squared probabilities of every token",
}
REFUSED_LOSSES = {"bypass_mode": "it is rollout correction around vanilla or plain REINFORCE, no loss of its own"}

Finding = tuple[KeyPath, str]


def skips_silent(stage: RlvrStage) -> bool:
    """Whether rollouts whose advantage is 0 can stay out of all passes: the loss gives them no gradient, nor does a KL term."""
    return LOSSES[stage.loss].silent and (stage.kl_coefficient == 0 or stage.kl_in == "reward")


def rlvr_stages(config: Config) -> list[tuple[int, RlvrStage]]:
    """The stages of kind rlvr with their places."""
    return [(index, stage) for index, stage in enumerate(config.stages) if isinstance(stage, RlvrStage)]


def methods_supported(config: Config) -> Iterator[Finding]:
    """`advantage` and `loss` are names of docs/algorithms.md."""
    for index, stage in rlvr_stages(config):
        if stage.advantage not in ADVANTAGES:
            reason = REFUSED_ADVANTAGES.get(stage.advantage, "unknown advantage")
            yield ("stages", index, "advantage"), f"{show(stage.advantage)}: {reason}; allowed: {listed(ADVANTAGES)}"
        if stage.loss not in LOSSES:
            reason = REFUSED_LOSSES.get(stage.loss, "unknown loss")
            yield ("stages", index, "loss"), f"{show(stage.loss)}: {reason}; allowed: {listed(LOSSES)}"


def groups_compare(config: Config) -> Iterator[Finding]:
    """`rollout.group_size` is at least 2 where the advantage compares the rollouts of a group."""
    comparing = [s for _, s in rlvr_stages(config) if s.advantage in ADVANTAGES and ADVANTAGES[s.advantage].fewest > 1]
    if config.rollout.group_size == 1 and comparing:
        stage = comparing[0]
        yield (
            ("rollout", "group_size"),
            f"must be at least 2, not 1: the advantage {stage.advantage} of stage {stage.name} compares rollouts of one prompt",
        )


def advantage_options_heeded(config: Config) -> Iterator[Finding]:
    """`normalize_by_std`, `gamma` and `reward_parts` are changed for advantages only that heed them; gdpo needs
    `reward_parts`, and heeds no `overlong.soft_buffer`."""
    for index, stage in rlvr_stages(config):
        if stage.advantage not in ADVANTAGES:
            continue
        for key in ("normalize_by_std", "gamma", "reward_parts"):
            if _changed(stage, key) and key not in ADVANTAGES[stage.advantage].heeds:
                heeding = [name for name, known in ADVANTAGES.items() if key in known.heeds]
                yield ("stages", index, key), f"means nothing to the advantage {stage.advantage}; it is for {listed(heeding)}"
        if stage.advantage == "gdpo" and not stage.reward_parts:
            message = "must name parts of verdicts for gdpo, which normalises each for itself"
            yield ("stages", index, "reward_parts"), message
        if stage.advantage == "gdpo" and stage.overlong is not None and stage.overlong.soft_buffer:
            message = "must be 0 for gdpo, which sees the rewards of `reward_parts` only"
            yield ("stages", index, "overlong", "soft_buffer"), message


def loss_options_heeded(config: Config) -> Iterator[Finding]:
    """`clip_low`, `clip_high` and keys of `loss_options` are changed for losses only that heed them; dro needs `dro_beta`; sapo
    and geo_mean need the aggregation seq-mean-token-mean, and seq-mean-token-sum-norm a `length_divisor`."""
    for index, stage in rlvr_stages(config):
        if stage.loss not in LOSSES:
            continue
        where, known = ("stages", index), LOSSES[stage.loss]
        for key in ("clip_low", "clip_high"):
            if _changed(stage, key) and not known.clips:
                yield (*where, key), f"means nothing to the loss {stage.loss}, which does not clip ratios"
        for key in LossOptions.model_fields:
            if _changed(stage.loss_options, key) and key not in known.options:
                heeding = [name for name, other in LOSSES.items() if key in other.options]
                yield (*where, "loss_options", key), f"means nothing to the loss {stage.loss}; it is for {listed(heeding)}"
        if stage.loss == "dro" and stage.loss_options.dro_beta is None:
            yield (*where, "loss_options", "dro_beta"), "must be given for the loss dro"
        if known.aggregation not in (None, stage.aggregation):
            yield (*where, "aggregation"), f"must be {known.aggregation} for the loss {stage.loss}, which knows no other"
        if (stage.aggregation == "seq-mean-token-sum-norm") != (stage.length_divisor is not None):
            needed = "must be given for" if stage.length_divisor is None else "means nothing without"
            yield (*where, "length_divisor"), f"{needed} the aggregation seq-mean-token-sum-norm"


def correction_heeded(config: Config) -> Iterator[Finding]:
    """`correction.truncate` is changed with weights only; geo_mean, whose ratio is of a response, rejects no single tokens."""
    for index, stage in rlvr_stages(config):
        correction = stage.correction
        if correction is None:
            continue
        where: KeyPath = ("stages", index, "correction")
        if correction.weights == "none" and _changed(correction, "truncate"):
            yield (*where, "truncate"), "means nothing with weights: none"
        if stage.loss == "geo_mean" and correction.reject is not None and correction.reject.ratio == "token":
            message = "must be sequence or geometric for the loss geo_mean, whose ratio is that of a whole response"
            yield (*where, "reject", "ratio"), message


def kl_has_gradient(config: Config) -> Iterator[Finding]:
    """`kl_estimator` has the right gradient in the loss, and none is asked of it in the reward; gdpo has no KL in the reward."""
    for index, stage in rlvr_stages(config):
        where = ("stages", index)
        if stage.kl_in == "loss" and stage.kl_estimator == "k1":
            message = "k1 has an expected gradient of zero as a loss; take k1+, k2, k3 or k3+, or kl_in: reward"
            yield (*where, "kl_estimator"), message
        if stage.kl_in == "reward" and stage.kl_estimator.endswith("+"):
            yield (
                (*where, "kl_estimator"),
                f"{stage.kl_estimator} differs in its gradient, and a reward has none; drop the +",
            )
        if stage.kl_in == "reward" and stage.advantage == "gdpo":
            yield (*where, "kl_in"), "must be loss for gdpo, which sees the rewards of `reward_parts` only"


def _changed(section: RlvrStage | LossOptions | Correction, key: str) -> bool:
    return bool(getattr(section, key) != type(section).model_fields[key].default)
