"""The preference losses against loops over numbers, hand-worked values, and their independence of how a batch is split."""

from dataclasses import replace
from itertools import product
from math import exp, log
from typing import get_args, get_type_hints

import pytest
import torch
from preference_scores import scores
from torch.autograd import gradcheck

from tower_rl.config import rules, schema, stages
from tower_rl.losses.preference import (
    LOGISTIC,
    LOSSES,
    NEEDS_REFERENCE,
    WEIGHTED,
    Objective,
    Scores,
    Weighting,
    Whole,
    preference_loss,
)

OBJECTIVES = {
    "dpo": Objective("dpo", 0.3),
    "dpo smoothed": Objective("dpo", 0.3, label_smoothing=0.1),
    "dpo_norm": Objective("dpo_norm", 2.0),
    "ipo": Objective("ipo", 0.4),
    "simpo": Objective("simpo", 2.0, margin=0.5),
    "simpo smoothed": Objective("simpo", 2.0, margin=0.5, label_smoothing=0.2),
    "orpo": Objective("orpo", 0.1, nll_weight=1.0),
    "kto": Objective("kto", 0.3),
    "dpo with nll": Objective("dpo", 0.3, nll_weight=0.7),
}
WEIGHTINGS = [Weighting(alignment, clamp) for alignment in ("sampled", "greedy", "none") for clamp in (True, False)]
WEIGHTED_OBJECTIVES = {
    f"{name} {weighting.alignment} {weighting.clamp}": replace(objective, weighting=weighting)
    for name, objective in OBJECTIVES.items()
    for weighting in WEIGHTINGS
    if objective.loss in WEIGHTED
}
ALL = list((OBJECTIVES | WEIGHTED_OBJECTIVES).values())
KL = 0.2


def part(side, rows):
    return Scores(*(None if v is None else v[rows] for v in (side.logprobs, side.mask, side.reference, side.aligned)))


def numbers(values, mask):
    return [[float(v) for v, m in zip(row, kept, strict=True) if m] for row, kept in zip(values, mask, strict=True)]


def sigmoid(x):
    return 1 / (1 + exp(-x))


def loop(o, chosen, rejected, kl=0.0):
    """The formulas of the papers, one pair after the other."""
    total, sides = 0.0, []
    for side in (chosen, rejected):
        sides.append([numbers(v, side.mask) for v in (side.logprobs, side.reference, side.aligned)])
    for (p, ref, against), (q, qref, qagainst) in zip(zip(*sides[0], strict=True), zip(*sides[1], strict=True), strict=True):
        n, m = len(p), len(q)
        ratios, means = (sum(p) - sum(ref), sum(q) - sum(qref)), (sum(p) / n, sum(q) / m)
        odds = [exp(x) / (1 - exp(x)) for x in means]
        d = {
            "dpo": o.beta * (ratios[0] - ratios[1]),
            "dpo_norm": o.beta * (ratios[0] / n - ratios[1] / m),
            "simpo": o.beta * (means[0] - means[1]) - o.margin,
        }.get(o.loss)
        if d is not None:
            loss = -(1 - o.label_smoothing) * log(sigmoid(d)) - o.label_smoothing * log(sigmoid(-d))
        elif o.loss == "ipo":
            loss = (ratios[0] / n - ratios[1] / m - 1 / (2 * o.beta)) ** 2
        elif o.loss == "orpo":
            loss = -o.beta * log(sigmoid(log(odds[0] / odds[1])))
        else:
            good, bad = sigmoid(o.beta * (ratios[0] - max(0, kl))), sigmoid(o.beta * (max(0, kl) - ratios[1]))
            loss = ((1 - good) + (1 - bad)) / 2
        if o.weighting:
            a, b = ([0] * n, [0] * m) if o.weighting.alignment == "none" else (against, qagainst)
            w = exp((sum(p) - sum(a)) / n) * exp((sum(q) - sum(b)) / m)
            loss *= min(w, 1) if o.weighting.clamp else w
        total += loss - o.nll_weight * means[0]
    return total / len(chosen.mask)


def fitting(objective, side):
    """The side as the objective's weighting asks for it."""
    return replace(side, aligned=None) if objective.weighting and objective.weighting.alignment == "none" else side


@pytest.mark.parametrize("name", OBJECTIVES)
@pytest.mark.parametrize("kl", [-0.1, KL])
def test_against_a_loop(name, kl):
    chosen, rejected = scores(0), scores(1, columns=7)
    loss, _ = preference_loss(OBJECTIVES[name], Whole(1, 6, kl), chosen, rejected)
    assert loss.item() == pytest.approx(loop(OBJECTIVES[name], chosen, rejected, kl), rel=1e-12)


@pytest.mark.parametrize("name", WEIGHTED_OBJECTIVES)
def test_weighted_against_a_loop(name):
    objective = WEIGHTED_OBJECTIVES[name]
    chosen, rejected = scores(0), scores(1)
    loss, sums = preference_loss(objective, Whole(1, 6), fitting(objective, chosen), fitting(objective, rejected))
    assert loss.item() == pytest.approx(loop(objective, chosen, rejected), rel=1e-12)
    assert objective.weighting.alignment == "none" or 0 < int(sums["weight/over_1"]) < 6, "the clamp is at work"


def two_answers():
    """Chosen: one token of p 1/2 (reference 1/4). Rejected: two tokens of p 1/4 and 1/2 (reference 1/2 and 1/2)."""
    tensors = [torch.tensor(rows, dtype=torch.float64).log() for rows in ([[0.5]], [[0.25]], [[0.25, 0.5]], [[0.5, 0.5]])]
    true = torch.ones(1, 2, dtype=torch.bool)
    return Scores(tensors[0], true[:, :1], tensors[1]), Scores(tensors[2], true, tensors[3])


@pytest.mark.parametrize(
    "objective, expected",
    [
        (Objective("dpo", 1.0), log(5 / 4)),  # ratios 2 and 1/2: sigmoid(log 4) = 4/5
        (Objective("dpo", 1.0, label_smoothing=0.25), 0.75 * log(5 / 4) + 0.25 * log(5)),
        (Objective("dpo_norm", 2.0), log(9 / 8)),  # a token: 2 and 1/sqrt 2: (2 sqrt 2)^2 = 8
        (Objective("ipo", 0.5), (1.5 * log(2) - 1) ** 2),
        (Objective("simpo", 2.0, margin=log(2)), log(2)),  # (1/2)^2 / (1/8) = 2, and less the margin 1
        (Objective("kto", 1.0), (1 / 3 + 1 / 3) / 2),  # sigmoid(log 2) = 2/3, sigmoid(-log 1/2) = 2/3
        (Objective("orpo", 1.0, nll_weight=1.0), log(1 + 1 / (2 * 2**0.5 - 1)) + log(2)),  # odds 1 and 1 / (2 sqrt 2 - 1)
        (Objective("dpo", 1.0, weighting=Weighting("none", clamp=True)), log(5 / 4) / 2 / 8**0.5),
    ],
)
def test_by_hand(objective, expected):
    assert preference_loss(objective, Whole(1, 1), *two_answers())[0].item() == pytest.approx(expected, rel=1e-12)


def test_kto_holds_rewards_against_the_divergence():
    loss, _ = preference_loss(Objective("kto", 1.0), Whole(1, 1, log(2)), *two_answers())
    assert loss.item() == pytest.approx((1 / 2 + 1 / 5) / 2)  # 1 - sigmoid(log 2 - log 2), 1 - sigmoid(log 2 + log 2)


def test_what_a_policy_is_certain_of_has_finite_odds():
    certain = Scores(torch.zeros(1, 2, requires_grad=True), torch.ones(1, 2, dtype=torch.bool))
    other = Scores(torch.full((1, 2), -1.0), torch.ones(1, 2, dtype=torch.bool))
    for pair in ((certain, other), (other, certain)):
        loss, _ = preference_loss(Objective("orpo", 1.0), Whole(1, 1), *pair)
        assert loss.isfinite() and torch.autograd.grad(loss, certain.logprobs)[0].isfinite().all()


@pytest.mark.parametrize("name", OBJECTIVES)
def test_finite_differences(name):
    sides = [scores(seed, 4, 3) for seed in (2, 3)]
    values = [side.logprobs.nan_to_num(-1.0).requires_grad_() for side in sides]

    def loss(*logprobs):
        both = (replace(side, logprobs=each) for side, each in zip(sides, logprobs, strict=True))
        return preference_loss(OBJECTIVES[name], Whole(1, 4, KL), *both)[0]

    assert gradcheck(loss, values)


@pytest.mark.parametrize("weighting", WEIGHTINGS)
def test_a_weight_carries_no_gradient(weighting):
    """The gradient of a weighted pair is the weight times that of the pair, and nothing flows to what it is aligned by."""
    plain = Objective("dpo", 0.3)
    weighted = replace(plain, weighting=weighting)
    for i in range(6):
        chosen, rejected = (fitting(weighted, part(scores(seed, grad=True), slice(i, i + 1))) for seed in (0, 1))
        if chosen.aligned is not None:
            chosen.aligned.requires_grad_()
        results = [preference_loss(objective, Whole(1, 1), chosen, rejected)[0] for objective in (plain, weighted)]
        plain_grad, grad = (torch.autograd.grad(loss, chosen.logprobs, retain_graph=True)[0] for loss in results)
        torch.testing.assert_close(grad, plain_grad * (results[1] / results[0]).detach())
        if chosen.aligned is not None:
            assert torch.autograd.grad(results[1], chosen.aligned, allow_unused=True) == (None,)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_padding_does_not_matter(name):
    """Neither what stands there, nor how much of it; nothing flows to it."""
    found = []
    for filling in (torch.nan, torch.inf, -1e30, 0.0):
        leaves = [scores(seed, columns=columns, grad=True) for seed, columns in ((4, 5), (5, 8))]
        filled = [
            Scores(*(v if v.dtype == torch.bool else v.masked_fill(~s.mask, filling) for v in (s.logprobs, s.mask, s.reference)))
            for s in leaves
        ]
        loss, sums = preference_loss(OBJECTIVES[name], Whole(1, 6, KL), *filled)
        grads = torch.autograd.grad(loss, [s.logprobs for s in leaves])
        assert not any(grad[~s.mask].any() for grad, s in zip(grads, leaves, strict=True))
        found.append(torch.stack([loss, *sums.values(), *(grad.sum() for grad in grads)]))
    for other in found[1:]:
        assert torch.equal(found[0], other) and other.isfinite().all()


@pytest.mark.parametrize("objective", ALL, ids=[*OBJECTIVES, *WEIGHTED_OBJECTIVES])
def test_split_over_micro_batches_and_ranks_equals_whole(objective):
    chosen, rejected = (fitting(objective, scores(seed, grad=True)) for seed in (0, 1))
    logprobs = chosen.logprobs, rejected.logprobs
    whole, sums = preference_loss(objective, Whole(1, 6, KL), chosen, rejected)
    wanted = torch.autograd.grad(whole, logprobs)
    slices = slice(0, 1), slice(1, 4), slice(4, 6), slice(6, 6)
    parts = [preference_loss(objective, Whole(2, 6, KL), part(chosen, s), part(rejected, s)) for s in slices]
    split = sum(loss for loss, _ in parts) / 2
    torch.testing.assert_close(split, whole)
    for found, grad in zip(torch.autograd.grad(split, logprobs), wanted, strict=True):
        torch.testing.assert_close(found, grad)
    for key, value in sums.items():
        torch.testing.assert_close(sum(each[key] for _, each in parts), value)
        assert not value.requires_grad


def test_sums():
    sides = two_answers()
    aligned = [
        replace(side, aligned=torch.full_like(side.logprobs, log(by))) for side, by in zip(sides, (0.25, 0.125), strict=True)
    ]
    objective = Objective("dpo", 0.5, weighting=Weighting("sampled", clamp=True))
    _, sums = preference_loss(objective, Whole(1, 1), *aligned)
    weight = 2 * 8 / 8**0.5
    expected = {
        **{"pairs": 1, "accuracy": 1, "reward_margin": log(2), "nll": log(2)},
        **{"logprob/chosen": -log(2), "logprob/rejected": -log(8), "length/chosen": 1, "length/rejected": 2},
        **{"weight": weight, "weight/square": weight**2},
        **{"weight/under_0.1": 0, "weight/under_0.5": 0, "weight/over_1": 1},
    }
    assert {name: float(value) for name, value in sums.items()} == pytest.approx(expected)
    _, sums = preference_loss(Objective("dpo", 0.5), Whole(1, 1), *reversed(sides))
    assert float(sums["accuracy"]) == 0 and "weight" not in sums


def test_wrong_shapes_are_refused():
    good = torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool)
    Scores(*good)
    for logprobs, mask, reference, said in [
        (torch.zeros(2), good[1][:, 0], None, r"logprobs is \[2\]"),
        (torch.zeros(2), good[1], None, r"logprobs is \[2\]"),
        (torch.zeros(2, 1), good[1], None, r"logprobs is \[2, 1\]"),
        (*good, torch.zeros(2), r"reference is \[2\]"),
        (good[0], good[1].float(), None, "float32"),
        (good[0], good[1] & torch.tensor([[True], [False]]), None, "without tokens"),
    ]:
        with pytest.raises(ValueError, match=said):
            Scores(logprobs, mask, reference)
    with pytest.raises(ValueError, match=r"aligned is \[3, 2\]"):
        Scores(*good, aligned=torch.zeros(3, 2))
    with pytest.raises(ValueError, match="2 chosen answers, 1 rejected"):
        preference_loss(Objective("simpo", 1.0), Whole(1, 2), Scores(*good), part(Scores(*good), slice(1)))


def test_what_is_missing_is_refused():
    bare = Scores(torch.zeros(2, 3), torch.ones(2, 3, dtype=torch.bool))
    assert {"dpo", "ipo", "dpo_norm", "kto"} == NEEDS_REFERENCE
    for name in LOSSES:
        if name in NEEDS_REFERENCE:
            with pytest.raises(ValueError, match="reference"):
                preference_loss(Objective(name, 1.0), Whole(1, 2), bare, bare)
        else:
            preference_loss(Objective(name, 1.0), Whole(1, 2), bare, bare)
    for weighting, side in ((WEIGHTINGS[0], bare), (WEIGHTINGS[-1], replace(bare, aligned=bare.logprobs))):
        with pytest.raises(ValueError, match="alignment"):
            preference_loss(Objective("simpo", 1.0, weighting=weighting), Whole(1, 2), side, side)


def test_options_that_a_loss_would_not_heed_are_refused():
    for name, options, said in [
        ("wpo", {}, "there are dpo, "),
        ("ipo", {"label_smoothing": 0.1}, "label smoothing"),
        ("kto", {"margin": 0.1}, "margin"),
        ("dpo_norm", {"weighting": WEIGHTINGS[0]}, "weighting"),
    ]:
        with pytest.raises(ValueError, match=said):
            Objective(name, 1.0, **options)


def stage(loss, **options):
    """A stage as the configuration has it."""
    facts = {"name": "p", "kind": "preference", "steps": 1, "prompts_per_round": 2}
    return stages.PreferenceStage(**facts | {"loss": loss, "nll_weight": float(loss == "orpo")} | options)


def test_the_configuration_knows_the_same_losses():
    assert get_args(stages.PreferenceStage.model_fields["loss"].annotation) == tuple(LOSSES)
    assert {name for name in LOSSES if stage(name).needs_reference} == NEEDS_REFERENCE
    assert set(rules.LOGISTIC) == LOGISTIC and set(rules.WEIGHTED) == WEIGHTED
    alignments = stages.Weighting.model_fields["alignment"].annotation
    assert alignments == get_type_hints(Weighting)["alignment"]


def test_the_configuration_refuses_what_objectives_refuse():
    options = [("label_smoothing", 0.1, 0.1), ("margin", 0.5, 0.5), ("weighting", WEIGHTINGS[0], stages.Weighting())]
    refused = 0
    for name, (option, value, configured) in product(LOSSES, options):
        config = schema.Config.model_construct(stages=[stage(name, **{option: configured})])
        keys = [key for key, _ in rules.preferences_consistent(config)]
        try:
            Objective(name, 1.0, **{option: value})
        except ValueError:
            assert keys == [("stages", 0, option)]
            refused += 1
        else:
            assert keys == []
    assert refused == 9
