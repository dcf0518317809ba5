"""The preference losses against the functions of TRL's own trainers, and where TRL does otherwise, by how much."""

import os
from collections import defaultdict
from types import SimpleNamespace

os.environ["TRL_EXPERIMENTAL_SILENCE"] = "1"

import pytest
import torch
from preference_scores import scores
from torch.nn.functional import logsigmoid
from trl import DPOTrainer, KTOTrainer
from trl.experimental.cpo import CPOTrainer
from trl.experimental.orpo import ORPOTrainer
from trl.kernels.chunked_logprob import ChunkedLogProbFunction

from tower_rl.losses.logprobs import AlignedHead
from tower_rl.losses.preference import Objective, Scores, Weighting, Whole, log_ratio, mean_logprob, pair_weights, preference_loss

PAIRS = 6
ACCELERATOR = SimpleNamespace(device="cpu", gather=lambda value: value, gather_for_metrics=lambda value: value)


def sides():
    """Both sides with zeros as padding, as TRL has them."""
    for seed in (0, 1):
        side = scores(seed, PAIRS)
        logprobs, reference, aligned = (each.nan_to_num(0.0) for each in (side.logprobs, side.reference, side.aligned))
        yield Scores(logprobs.requires_grad_(), side.mask, reference, aligned)


def trainer(**options):
    """What TRL's methods look up in their trainer."""
    state = {"accelerator": ACCELERATOR, "model": SimpleNamespace(training=True), "_metrics": {"train": defaultdict(list)}}
    fixed = {"aux_loss_enabled": False, "precompute_ref_logps": True, "_total_train_tokens": 0, "_tp_size": 1}
    return SimpleNamespace(**state, **fixed, **options)


def inputs(mask, **others):
    """A batch of TRL: one token of prompt before each answer."""
    completion = torch.cat([torch.zeros(len(mask), 1), mask], 1).long()
    return {"input_ids": completion, "attention_mask": torch.ones_like(completion), "completion_mask": completion, **others}


def model(logprobs, aligned):
    """A model whose fused head gives these."""
    zero = torch.zeros_like(logprobs)
    return lambda **_: SimpleNamespace(
        log_probs=logprobs, log_sum_sq_probs=aligned, entropy=zero, mean_logits=zero, is_top1=zero.bool()
    )


def trl_dpo(chosen, rejected, loss_types, beta, *, smoothing=0.0, weighted=False):
    logprobs, mask, aligned = (torch.cat([getattr(s, n) for s in (chosen, rejected)]) for n in ("logprobs", "mask", "aligned"))
    self = trainer(
        ld_alpha=None, f_divergence_type="reverse_kl", loss_types=loss_types, loss_weights=[1.0] * len(loss_types), beta=beta,
        label_smoothing=smoothing, use_weighting=weighted,
    )  # fmt: skip
    references = {f"ref_{name}_logps": side.reference.sum(-1) for name, side in (("chosen", chosen), ("rejected", rejected))}
    loss = DPOTrainer._compute_loss(self, model(logprobs, aligned), inputs(mask, **references), False)
    return loss, {name: values[-1] for name, values in self._metrics["train"].items()}


def ours(objective, chosen, rejected, kl=0.0):
    if objective.weighting is None or objective.weighting.alignment == "none":
        chosen, rejected = (Scores(s.logprobs, s.mask, s.reference) for s in (chosen, rejected))
    return preference_loss(objective, Whole(1, PAIRS, kl), chosen, rejected)


def same(found, wanted, chosen, rejected):
    """Values and gradients of the tokens of answers: TRL's head, which is no part of its losses, stops those of padding."""
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-7)
    for side in (chosen, rejected):
        gradients = [torch.autograd.grad(loss, side.logprobs, retain_graph=True)[0][side.mask] for loss in (found, wanted)]
        torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(
    "loss, trl_name, beta, weighted",
    [
        ("dpo", "sigmoid", 0.3, False),
        ("dpo", "sigmoid", 0.3, True),
        ("ipo", "ipo", 0.4, False),
        ("ipo", "ipo", 0.4, True),
        ("dpo_norm", "sigmoid_norm", 2.0, False),
    ],
)
def test_dpo_trainer(loss, trl_name, beta, weighted):
    chosen, rejected = sides()
    weighting = Weighting("sampled", clamp=False) if weighted else None
    found, sums = ours(Objective(loss, beta, weighting=weighting), chosen, rejected)
    wanted, metrics = trl_dpo(chosen, rejected, [trl_name], beta, weighted=weighted)
    same(found, wanted, chosen, rejected)
    assert float(sums["logprob/chosen"]) / PAIRS == pytest.approx(metrics["logps/chosen"])
    assert float(sums["logprob/rejected"]) / PAIRS == pytest.approx(metrics["logps/rejected"])
    if loss == "dpo":
        assert float(sums["reward_margin"]) / PAIRS == pytest.approx(metrics["rewards/margins"])
        assert float(sums["accuracy"]) / PAIRS == pytest.approx(metrics["rewards/accuracies"])


def test_label_smoothing():
    """TRL's `sigmoid` has none; its CPO smooths the same logits, and `robust` is the unbiased form of the same two terms."""
    chosen, rejected = sides()
    found, _ = ours(Objective("dpo", 0.3, label_smoothing=0.1), chosen, rejected)
    self = trainer(alpha=0.0, loss_type="sigmoid", beta=0.3, label_smoothing=0.1)
    losses, *_ = CPOTrainer.cpo_loss(self, log_ratio(chosen), log_ratio(rejected))
    same(found, losses.mean(), chosen, rejected)
    robust, _ = trl_dpo(chosen, rejected, ["robust"], 0.3, smoothing=0.1)
    flipped = -logsigmoid(-0.3 * (log_ratio(chosen) - log_ratio(rejected))).mean()
    same(found, 0.8 * robust + 2 * 0.1 * flipped, chosen, rejected)
    plain, _ = ours(Objective("dpo", 0.3), chosen, rejected)
    same(plain, trl_dpo(chosen, rejected, ["sigmoid"], 0.3, smoothing=0.1)[0], chosen, rejected)


def test_trl_does_not_clamp_the_weight_of_a_pair():
    """Each pair's loss is greater in TRL by what its weight is above 1; nothing else differs."""
    chosen, rejected = sides()
    weights = pair_weights(chosen, rejected)
    over = (weights - 1).clamp(min=0)
    assert 0 < int((over > 0).sum()) < PAIRS
    found, _ = ours(Objective("dpo", 0.3, weighting=Weighting("sampled", clamp=True)), chosen, rejected)
    wanted, _ = trl_dpo(chosen, rejected, ["sigmoid"], 0.3, weighted=True)
    each = -logsigmoid(0.3 * (log_ratio(chosen) - log_ratio(rejected)))
    same(found, wanted - (over * each).mean(), chosen, rejected)


def test_ipo_of_answers_of_one_token_is_that_of_the_paper():
    """Both divide by the length, which equation 17 of the paper, about actions and not about texts, does not."""
    chosen, rejected = (Scores(s.logprobs[:, :1], s.mask[:, :1], s.reference[:, :1], s.aligned[:, :1]) for s in sides())
    paper = ((log_ratio(chosen) - log_ratio(rejected) - 1 / (2 * 0.4)) ** 2).mean()
    for loss in (ours(Objective("ipo", 0.4), chosen, rejected)[0], trl_dpo(chosen, rejected, ["ipo"], 0.4)[0]):
        torch.testing.assert_close(loss, paper)


def test_nll():
    """Ours is a mean over pairs, TRL's over tokens: on answers of one length they are the same."""
    chosen, rejected = sides()
    per_pair, _ = ours(Objective("dpo", 0.3, nll_weight=0.7), chosen, rejected)
    lengths = chosen.mask.sum(-1)
    plain, per_token = (trl_dpo(chosen, rejected, [name], 0.3)[0] for name in ("sigmoid", "sft"))
    spread = (-mean_logprob(chosen) * (1 / PAIRS - lengths / lengths.sum())).sum()
    same(per_pair, plain + 0.7 * (per_token + spread), chosen, rejected)
    full = Scores(chosen.logprobs, torch.ones_like(chosen.mask), chosen.reference, chosen.aligned)
    plain, per_token = (trl_dpo(full, rejected, [name], 0.3)[0] for name in ("sigmoid", "sft"))
    same(ours(Objective("dpo", 0.3, nll_weight=0.7), full, rejected)[0], plain + 0.7 * per_token, chosen, rejected)


@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_simpo_of_the_cpo_trainer(smoothing):
    chosen, rejected = sides()
    found, sums = ours(Objective("simpo", 2.0, margin=0.5, label_smoothing=smoothing), chosen, rejected)
    self = trainer(alpha=0.0, loss_type="simpo", beta=2.0, simpo_gamma=0.5, label_smoothing=smoothing)
    losses, better, worse = CPOTrainer.cpo_loss(self, *(s.logprobs.sum(-1) / s.mask.sum(-1) for s in (chosen, rejected)))
    same(found, losses.mean(), chosen, rejected)
    assert float(sums["reward_margin"]) == pytest.approx(float((better - worse).sum()))


def test_orpo():
    """TRL computes odds in float32, takes them off the loss, and its NLL is over the prompt too."""
    chosen, rejected = sides()
    found, _ = ours(Objective("orpo", 0.1), chosen, rejected)
    means = (s.logprobs.sum(-1) / s.mask.sum(-1) for s in (chosen, rejected))
    losses, *_ = ORPOTrainer.odds_ratio_loss(trainer(beta=0.1), *means)
    same(found.float(), -losses.mean(), chosen, rejected)


@pytest.mark.parametrize("shift", [-2.0, 0.5])
def test_kto(shift):
    """TRL estimates the divergence with answers to other prompts, over all ranks, and takes 0 for a negative one."""
    chosen, rejected = sides()
    others = log_ratio(rejected).detach() * 0 + shift + torch.arange(PAIRS)[None] / 10
    logprobs, mask, reference = (
        torch.cat([getattr(s, n) for s in (chosen, rejected)]) for n in ("logprobs", "mask", "reference")
    )
    self = trainer(
        calculate_KL=True, loss_type="kto", beta=0.3, desirable_weight=1.0, undesirable_weight=1.0,
        _compute_kl_logps=lambda *_: others,
    )  # fmt: skip
    label = torch.arange(2 * PAIRS) < PAIRS
    batch = inputs(mask, label=label, ref_logps=reference.sum(-1), ref_KL_logps=torch.zeros_like(others))
    wanted = KTOTrainer._compute_loss(self, model(logprobs, None), batch, False)
    same(ours(Objective("kto", 0.3), chosen, rejected, float(others.mean()))[0], wanted, chosen, rejected)


@pytest.mark.parametrize("softcap", [None, 1.5])
def test_head(softcap):
    """Log-probabilities, log sum_v p(v)^2 and gradients of TRL's fused head."""
    torch.manual_seed(0)
    hidden, weight, targets = (
        torch.randn(40, 8, requires_grad=True),
        torch.nn.Parameter(torch.randn(90, 8)),
        torch.randint(90, (40,)),
    )
    logprobs, sampled, _ = AlignedHead(weight, 7, softcap)(hidden, targets)
    theirs = ChunkedLogProbFunction.apply(hidden, weight, None, targets, 1.0, 32, softcap, 1.0)
    torch.testing.assert_close((logprobs, sampled), (theirs[0], theirs[2]))
    upstream = torch.randn(40)
    found, wanted = (torch.autograd.grad((each * upstream).sum(), (hidden, weight)) for each in (logprobs, theirs[0]))
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)
