"""Ranks of preference optimization against each other and against plain torch."""

import shutil

import numpy as np
import pytest
import torch
from helpers import plain_model, run_ranks
from preference_cases import LENGTHS, OBJECTIVES, WEIGHTINGS, random_pairs
from torch.nn.functional import logsigmoid

from tower_rl.losses.preference import LOSSES

pytestmark = pytest.mark.ranks
RUNS = ((1, 0), (2, 1), (2, 3))
"""Number of ranks, and ZeRO stage."""
PAIRS = len(LENGTHS)


@pytest.fixture(scope="module")
def reference_model(tiny_model, tmp_path_factory):
    """The tiny model with other weights."""
    folder = tmp_path_factory.mktemp("reference") / "model"
    shutil.copytree(tiny_model, folder)
    model, generator = plain_model(tiny_model), torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.04 * torch.randn(parameter.shape, generator=generator)
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def trained(tiny_model, reference_model, tmp_path_factory):
    """What one rank and two ranks found."""
    output = tmp_path_factory.mktemp("preference")
    for world in (1, 2):
        run_ranks("preference_ranks.py", world, tiny_model, output, str(reference_model))
    return output


def distributions(model, prompt, answer):
    """[T, V] log-probabilities where the answer's tokens are predicted, from one whole unpacked pass."""
    ids = torch.tensor([[*prompt.token_ids, *answer.token_ids]])
    return torch.log_softmax(model(input_ids=ids).logits[0, len(prompt.token_ids) - 1 : -1].float(), -1)


def own(logs, answer):
    """[T] of the tokens themselves."""
    return logs[torch.arange(len(logs)), torch.tensor(answer.token_ids)]


def side(model, reference, prompt, answer):
    """Log-probabilities of tokens by policy and reference, and what weights align by."""
    logs = distributions(model, prompt, answer)
    fixed = logs.detach()
    aligned = {"sampled": (2 * fixed).exp().sum(-1).log(), "greedy": fixed.max(-1).values, "none": torch.zeros(len(logs))}
    return own(logs, answer), own(distributions(reference, prompt, answer), answer).detach(), aligned


def pair_loss(o, kl, chosen, rejected):
    """The papers' formulas; also the rewards, and the weight of the pair."""
    (p, p_ref, p_aligned), (q, q_ref, q_aligned) = chosen, rejected
    gain, gain_rejected = (p - p_ref).sum(), (q - q_ref).sum()
    odds, odds_rejected = (x.mean().exp() / (1 - x.mean().exp()) for x in (p, q))
    rewards = {
        "dpo": (gain, gain_rejected),
        "dpo_norm": (gain / len(p), gain_rejected / len(q)),
        "ipo": (gain / len(p), gain_rejected / len(q)),
        "simpo": (p.mean(), q.mean()),
        "orpo": (odds.log(), odds_rejected.log()),
        "kto": (gain, gain_rejected),
    }[o.loss]
    gap = rewards[0] - rewards[1]
    if o.loss == "ipo":
        loss = (gap - 1 / (2 * o.beta)) ** 2
    elif o.loss == "orpo":
        loss = -o.beta * logsigmoid(gap)
    elif o.loss == "kto":
        z = max(kl, 0.0)
        loss = ((1 - torch.sigmoid(o.beta * (gain - z))) + (1 - torch.sigmoid(o.beta * (z - gain_rejected)))) / 2
    else:
        z = o.beta * gap - o.margin
        loss = -(1 - o.label_smoothing) * logsigmoid(z) - o.label_smoothing * logsigmoid(-z)
    weight = torch.ones(())
    if o.weighting:
        against, against_rejected = p_aligned[o.weighting.alignment], q_aligned[o.weighting.alignment]
        weight = ((p - against).mean() + (q - against_rejected).mean()).exp().detach()
        loss = loss * (min(weight, torch.ones(())) if o.weighting.clamp else weight)
    return loss - o.nll_weight * p.mean(), rewards, weight


def plain_sums(o, sides, parts):
    """What a step reports, added up over pairs."""
    losses, rewards, weights = zip(*parts, strict=True)
    w = torch.stack(weights)
    sums = {
        "loss": sum(losses) / PAIRS,
        "pairs": PAIRS,
        "accuracy": sum(better > worse for better, worse in rewards),
        "reward_margin": o.beta * sum(better - worse for better, worse in rewards),
        "nll": -sum(chosen[0].mean() for chosen, _ in sides),
    }
    for i, name in enumerate(("chosen", "rejected")):
        sums |= {f"logprob/{name}": sum(both[i][0].sum() for both in sides), f"length/{name}": sum(n[1 + i] for n in LENGTHS)}
    if o.weighting:
        sums |= {"weight": w.sum(), "weight/square": (w**2).sum(), "weight/over_1": (w > 1).sum()}
        sums |= {"weight/under_0.1": (w < 0.1).sum(), "weight/under_0.5": (w < 0.5).sum()}
    return {name: torch.as_tensor(value).item() for name, value in sums.items()}


@pytest.fixture(scope="module")
def plain(tiny_model, reference_model):
    """The divergence, and sums and gradients of each objective, by torch alone on sequences that stand alone."""
    model, reference, pairs = plain_model(tiny_model), plain_model(reference_model), random_pairs()
    sides = [tuple(side(model, reference, p.prompt, answer) for answer in (p.chosen, p.rejected)) for p in pairs]
    others = [side(model, reference, p.prompt, pairs[(i + 1) % PAIRS].chosen) for i, p in enumerate(pairs)]
    kl = sum((policy - fixed).sum().item() for policy, fixed, _ in others) / PAIRS
    names, parameters = zip(*model.named_parameters(), strict=True)
    found = {}
    for name, objective in OBJECTIVES.items():
        parts = [pair_loss(objective, kl, *both) for both in sides]
        loss = sum(part[0] for part in parts) / PAIRS
        grads = torch.autograd.grad(loss, parameters, retain_graph=True)
        found[name] = plain_sums(objective, sides, parts), dict(zip(names, grads, strict=True))
    return kl, found


def ranks(trained, world, stage, case):
    return [np.load(trained / f"{stage}-{case}-{world}-{rank}.npz") for rank in range(world)]


def part(found, kind):
    return {name.removeprefix(f"{kind}/"): found[name] for name in found.files if name.startswith(f"{kind}/")}


@pytest.mark.parametrize("case", OBJECTIVES)
@pytest.mark.parametrize("world, stage", RUNS)
def test_loss_and_gradients_are_those_of_plain_torch(trained, plain, world, stage, case):
    """However pairs are packed and shared out, also if one rank has fewer."""
    sums, grads = plain[1][case]
    found = ranks(trained, world, stage, case)
    added = {name: sum(part(rank, "sum")[name] for rank in found) for name in part(found[0], "sum")}
    assert added.keys() == sums.keys()
    assert np.isclose(added["loss"], sums["loss"], atol=1e-5, rtol=1e-4)
    assert added == pytest.approx(sums, rel=1e-4, abs=1e-4)
    norm = torch.stack([g.norm() for g in grads.values()]).norm().item()
    for rank in found:
        assert np.isclose(rank["norm"], norm, rtol=1e-3)
        assert part(rank, "grad").keys() == grads.keys()
        for name, gradient in part(rank, "grad").items():
            # A small weight makes small gradients, of which an absolute bound alone would say little.
            bound = min(1e-5, 1e-3 * float(grads[name].abs().max()))
            np.testing.assert_allclose(gradient, grads[name].numpy(), atol=bound, rtol=0, err_msg=name)


def test_cases_tell_apart_what_they_shall(plain):
    """Every loss has one; each option changes the loss; no gradient is nothing."""
    kl, found = plain
    assert {o.loss for o in OBJECTIVES.values()} == set(LOSSES)
    assert kl > 0.1, "kto's anchor must count"
    losses = {name: sums["loss"] for name, (sums, _) in found.items()}
    assert 0 < found["wpo sampled"][0]["weight/over_1"] < PAIRS
    assert abs(losses["wpo sampled"] - losses["wpo sampled clamped"]) > 1e-3
    assert abs(losses["wpo nll"] - losses["wpo sampled clamped"]) > 1
    assert len({round(losses[name], 9) for name in WEIGHTINGS}) == 4, "greedy and none are never above 1"
    assert len({sums["accuracy"] for sums, _ in found.values()}) > 1
    assert all(gradient.abs().max() > 1e-9 for _, grads in found.values() for gradient in grads.values())


@pytest.mark.parametrize("case", OBJECTIVES)
@pytest.mark.parametrize("world, stage", RUNS)
def test_validation_is_the_sums_of_a_step(trained, world, stage, case):
    for rank in ranks(trained, world, stage, case):
        assert part(rank, "evaluate") == part(rank, "sum")


@pytest.mark.parametrize("world, stage", RUNS)
def test_divergence_is_a_loop_over_mismatched_answers(trained, plain, world, stage):
    for rank in ranks(trained, world, stage, "kto"):
        assert np.isclose(rank["divergence"], plain[0], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("stage", [1, 3])
def test_one_of_two_ranks_has_an_empty_micro_batch(trained, stage):
    """And prompts are computed once for both answers."""
    one, (first, second) = ranks(trained, 1, 0, "dpo")[0], ranks(trained, 2, stage, "dpo")
    assert (one["micro_batches"], first["micro_batches"], second["micro_batches"]) == (2, 3, 3)
    assert (first["empty"], second["empty"]) == (0, 1)
    assert one["tokens"] == sum(map(sum, LENGTHS)) == first["tokens"] + second["tokens"] - 1


def test_training_goes_on_from_a_checkpoint_bit_by_bit(trained):
    """Also with validation in between, which changes nothing."""
    same, moved, total = map(int, (trained / "resumed").read_text().split())
    assert same == total and moved > total / 2
