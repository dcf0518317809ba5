"""Losses on pairs of answers of which one is preferred, from the log-probabilities of their tokens.

A loss is the reward of an answer and a comparison of the two rewards of a pair; `LOSSES` says which of them make which loss.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import logsigmoid


@dataclass(frozen=True, slots=True)
class Weighting:
    """WPO (arXiv:2406.11827): a pair counts as much as the policy would have answered so itself.

    The weight of an answer is exp of the mean over its tokens of log p(y_t) less what it is aligned by: log sum_v p(v)^2 for
    `sampled`, max_v log p(v) for `greedy`, nothing for `none`.
    """

    alignment: Literal["sampled", "greedy", "none"]
    clamp: bool
    """Whether the product of a pair's two weights is at most 1, as in the authors' own training."""


@dataclass(frozen=True, slots=True)
class Objective:
    """What is minimised."""

    loss: str
    """A name of `LOSSES`."""
    beta: float
    """Scale of the rewards; of the odds ratio's term for orpo; 1 / (2 beta) is the margin that ipo aims at."""
    label_smoothing: float = 0.0
    """Share of pairs whose label is taken to be wrong, for the losses of `LOGISTIC`."""
    margin: float = 0.0
    """By how much scaled rewards shall differ, for the losses of `LOGISTIC`: the gamma of simpo."""
    weighting: Weighting | None = None
    """For the losses of `WEIGHTED`; it does not weigh the NLL term."""
    nll_weight: float = 0.0
    """Of the mean over pairs of the chosen answer's mean -log p(y_t): 1 in the orpo of its paper."""

    def __post_init__(self) -> None:
        """Raises ValueError for a loss that is none, and for options that it would not heed."""
        if self.loss not in LOSSES:
            raise ValueError(f"no loss {self.loss!r}; there are {', '.join(LOSSES)}")
        if (self.label_smoothing or self.margin) and self.loss not in LOGISTIC:
            raise ValueError(f"{self.loss} knows neither label smoothing nor a margin")
        if self.weighting and self.loss not in WEIGHTED:
            raise ValueError(f"{self.loss} takes no weighting")


@dataclass(frozen=True, slots=True)
class Scores:
    """One side of B pairs, [B, T] each. What stands where the mask is False does not matter."""

    logprobs: Tensor
    """Of the policy, with gradient."""
    mask: Tensor
    """True on response tokens."""
    reference: Tensor | None = None
    """Log-probabilities of the reference, for the losses of `NEEDS_REFERENCE`."""
    aligned: Tensor | None = None
    """What a weighting aligns by (see `AlignedHead`); none for the alignment `none`."""

    def __post_init__(self) -> None:
        """Raises ValueError unless all are [B, T], the mask is of booleans, and every answer has a token."""
        for name in ("logprobs", "mask", "reference", "aligned"):
            value = getattr(self, name)
            if value is not None and (value.ndim != 2 or value.shape != self.mask.shape):
                raise ValueError(
                    f"{name} is {[*value.shape]}; mask, {[*self.mask.shape]}, shall be [B, T] and all others like it"
                )
        if self.mask.dtype != torch.bool:
            raise ValueError(f"the mask is {self.mask.dtype}, not torch.bool")
        if not self.mask.any(-1).all():
            raise ValueError("an answer without tokens")


@dataclass(frozen=True, slots=True)
class Whole:
    """What only the whole batch knows, over all micro-batches and ranks: so the loss does not depend on how it was split."""

    ranks: int
    pairs: int
    kl: float = 0.0
    """For kto: the mean of `log_ratio` over answers to prompts of other pairs."""


def preference_loss(objective: Objective, whole: Whole, chosen: Scores, rejected: Scores) -> tuple[Tensor, dict[str, Tensor]]:
    """Loss of a micro-batch, scaled such that the mean over ranks of the sums over micro-batches is the loss of the batch.

    All terms are means over pairs, the NLL too (as in arXiv:2404.19733): a long answer outvotes no short one, and
    the number of pairs, known before any is packed, is the only count that ranks must agree on.

    Args:
        objective: what to minimise.
        whole: counts of the whole batch.
        chosen: the B preferred answers; B may be 0.
        rejected: the B others, of the same prompts; their T may differ.

    Returns:
        the loss [] and sums over this micro-batch's pairs, without gradient: `pairs`; `accuracy`, where the chosen answer has the
        greater reward; `reward_margin`, beta times the difference of rewards; `logprob/*`, of whole answers; `length/*`, in
        tokens; `nll`; and with a weighting `weight`, `weight/square`, and the numbers of weights, before any clamping,
        `weight/under_0.1`, `weight/under_0.5`, `weight/over_1`.

    Raises:
        ValueError: the sides differ in B, or lack the reference or what the weighting aligns by.
    """
    _check(objective, chosen, rejected)
    reward, compare = LOSSES[objective.loss]
    better, worse = reward(chosen), reward(rejected)
    losses, nll = compare(objective, whole, better, worse), -mean_logprob(chosen)
    sums = _sums(objective, better, worse, chosen, rejected) | {"nll": nll.detach().sum()}
    if objective.weighting is not None:
        weights = pair_weights(chosen, rejected)
        sums |= _weight_sums(weights)
        losses = losses * (weights.clamp(max=1) if objective.weighting.clamp else weights)
    return (losses + objective.nll_weight * nll).sum() * (whole.ranks / whole.pairs), sums


def pair_weights(chosen: Scores, rejected: Scores) -> Tensor:
    """[B] products of the weights of both answers, not clamped, without gradient (arXiv:2406.11827)."""
    return (_log_weight(chosen) + _log_weight(rejected)).detach().exp()


def log_ratio(scores: Scores) -> Tensor:
    """[B] log p(y) - log p_reference(y). Raises ValueError without a reference."""
    if scores.reference is None:
        raise ValueError("a log-ratio needs log-probabilities of the reference")
    return _sum(scores.logprobs - scores.reference, scores.mask)


def mean_log_ratio(scores: Scores) -> Tensor:
    """[B] the same a token."""
    return log_ratio(scores) / scores.mask.sum(-1)


def mean_logprob(scores: Scores) -> Tensor:
    """[B] log p(y) a token, the reward of simpo (arXiv:2405.14734)."""
    return _mean(scores.logprobs, scores.mask)


def log_odds(scores: Scores) -> Tensor:
    """[B] log p / (1 - p) with log p a token (arXiv:2403.07691, equation 4)."""
    mean = mean_logprob(scores)
    mean = mean.clamp(max=-torch.finfo(mean.dtype).eps)  # at p = 1 odds and their gradient are infinite
    return mean - torch.log(-torch.expm1(mean))


def logistic(objective: Objective, whole: Whole, better: Tensor, worse: Tensor) -> Tensor:
    """[B] -log sigmoid of the scaled difference less the margin, with conservative label smoothing (arXiv:2305.18290; cDPO)."""
    logits = objective.beta * (better - worse) - objective.margin
    return -(1 - objective.label_smoothing) * logsigmoid(logits) - objective.label_smoothing * logsigmoid(-logits)


def squared(objective: Objective, whole: Whole, better: Tensor, worse: Tensor) -> Tensor:
    """[B] squared distance of the difference from 1 / (2 beta) (arXiv:2310.12036, equation 17; beta is its tau)."""
    return (better - worse - 1 / (2 * objective.beta)) ** 2


def odds_ratio(objective: Objective, whole: Whole, better: Tensor, worse: Tensor) -> Tensor:
    """[B] -beta log sigmoid of the log odds ratio (arXiv:2403.07691, equation 7; beta is its lambda)."""
    return -objective.beta * logsigmoid(better - worse)


def prospect(objective: Objective, whole: Whole, better: Tensor, worse: Tensor) -> Tensor:
    """[B] mean of 1 - v over a desirable and an undesirable answer that count alike (arXiv:2402.01306)."""
    anchor = max(whole.kl, 0.0)
    return (torch.sigmoid(objective.beta * (anchor - better)) + torch.sigmoid(objective.beta * (worse - anchor))) / 2


class _Loss(NamedTuple):
    reward: Callable[[Scores], Tensor]
    compare: Callable[[Objective, Whole, Tensor, Tensor], Tensor]


LOSSES: Mapping[str, _Loss] = {
    "dpo": _Loss(log_ratio, logistic),
    "dpo_norm": _Loss(mean_log_ratio, logistic),
    # Equation 17 is about actions, not texts; its authors told TRL that for these they take the mean over tokens.
    "ipo": _Loss(mean_log_ratio, squared),
    "simpo": _Loss(mean_logprob, logistic),
    "orpo": _Loss(log_odds, odds_ratio),
    "kto": _Loss(log_ratio, prospect),
}
NEEDS_REFERENCE = frozenset(name for name, loss in LOSSES.items() if loss.reward in (log_ratio, mean_log_ratio))
LOGISTIC = frozenset(name for name, loss in LOSSES.items() if loss.compare is logistic)
WEIGHTED = frozenset({"dpo", "ipo", "simpo"})


def _check(objective: Objective, chosen: Scores, rejected: Scores) -> None:
    if len(chosen.mask) != len(rejected.mask):
        raise ValueError(f"{len(chosen.mask)} chosen answers, {len(rejected.mask)} rejected ones")
    for side in (chosen, rejected):
        if objective.weighting and (objective.weighting.alignment == "none") != (side.aligned is None):
            raise ValueError(f"alignment {objective.weighting.alignment!r}, but `aligned` is {type(side.aligned).__name__}")


def _log_weight(scores: Scores) -> Tensor:
    return _mean(scores.logprobs if scores.aligned is None else scores.logprobs - scores.aligned, scores.mask)


def _sums(objective: Objective, better: Tensor, worse: Tensor, chosen: Scores, rejected: Scores) -> dict[str, Tensor]:
    sums = {
        "pairs": better.new_tensor(len(better)),
        "accuracy": (better > worse).sum(),
        "reward_margin": (objective.beta * (better - worse)).detach().sum(),
    }
    for name, side in (("chosen", chosen), ("rejected", rejected)):
        sums |= {f"logprob/{name}": _sum(side.logprobs.detach(), side.mask).sum(), f"length/{name}": side.mask.sum()}
    return sums


def _weight_sums(weights: Tensor) -> dict[str, Tensor]:
    under = {f"weight/under_{limit}": (weights < limit).sum() for limit in (0.1, 0.5)}
    return {"weight": weights.sum(), "weight/square": (weights**2).sum(), "weight/over_1": (weights > 1).sum()} | under


def _sum(values: Tensor, mask: Tensor) -> Tensor:
    return values.masked_fill(~mask, 0).sum(-1)


def _mean(values: Tensor, mask: Tensor) -> Tensor:
    return _sum(values, mask) / mask.sum(-1)
