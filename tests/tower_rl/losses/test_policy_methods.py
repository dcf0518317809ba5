"""Every policy loss with every aggregation: as verl has it on the whole padded batch, and the same however the batch is split."""

from functools import cache

import pytest
import torch
from policy_cases import CHOOSING, COMBINATIONS, stage, verl_loss

from tower_rl.config.methods import LOSSES
from tower_rl.config.stages import LossOptions
from tower_rl.losses.policy import Denominators, Objective, policy_loss

SHARES = {"clip_cov": {"clip_cov_lb": -5.0, "clip_cov_ratio": 0.2}, "kl_cov": {"kl_cov_ratio": 0.3}}


@cache
def batch(seed=0, rows=6, columns=9):
    """Log-probabilities, old and reference ones, advantages and mask, on which every loss clips something."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([2, 7, 9, 4, 3, 5])[:rows]
    mask = torch.arange(columns)[None] < lengths[:, None]
    new = -2 * torch.rand(rows, columns, generator=generator)
    old, reference = (new + 0.5 * torch.randn(rows, columns, generator=generator) for _ in range(2))
    advantages = torch.randn(rows, 1, generator=generator).expand(-1, columns)
    return (*(x * mask for x in (new, old.clamp(max=-0.01), reference, advantages)), mask)


def found(objective, parts, ranks, tokens, rollouts):
    """Sum over micro-batches, mean over ranks; its gradient; and the sums."""
    leaves = [part[0].clone().requires_grad_() for part in parts]
    over = Denominators(ranks, tokens, rollouts)
    told = [policy_loss(objective, over, leaf, *part[1:]) for leaf, part in zip(leaves, parts, strict=True)]
    loss = sum(loss for loss, _ in told) / ranks
    loss.backward()
    sums = {name: float(sum(s[name] for _, s in told)) for name in told[0][1]}
    return float(loss.detach()), [leaf.grad for leaf in leaves], sums


def by_verl(stage):
    """Loss and gradient of the whole batch by verl."""
    new = batch()[0].clone().requires_grad_()
    loss = verl_loss(stage, new, *batch()[1:])
    loss.backward()
    return float(loss.detach()), new.grad


def trimmed(parts, values):
    """Micro-batches as packing makes them: padded to their own longest response."""
    for part in parts:
        longest = int(values[-1][part].sum(1).max())
        yield tuple(v[part, :longest] for v in values)


@pytest.mark.parametrize(("loss", "aggregation"), COMBINATIONS)
def test_as_verl_on_the_whole_batch_and_the_same_when_split(loss, aggregation):
    values, about = batch(), stage(loss, aggregation, kl_coefficient=0.3)
    tokens, rollouts = int(values[-1].sum()), len(values[0])
    wanted, gradient = by_verl(about)
    assert gradient.abs().max() > 1e-3, "a gradient of zero proves nothing"
    whole = found(Objective.of(about), [values], 1, tokens, rollouts)
    slices = (slice(0, 1), slice(1, 4), slice(4, 6))
    parts = [*trimmed(slices, values), tuple(torch.zeros(1, 1, dtype=v.dtype) for v in values)]
    split = found(Objective.of(about), parts, 2, tokens, rollouts)
    for value, gradients, sums in (whole, split):
        assert value == pytest.approx(wanted, rel=1e-4, abs=1e-6)
        assert sums == pytest.approx(whole[2], rel=1e-5)
        ranks = 1 if sums is whole[2] else 2
        for part, own in zip((slice(None),) if ranks == 1 else slices, gradients, strict=False):
            torch.testing.assert_close(own, gradient[part, : own.shape[1]], rtol=1e-4, atol=1e-6)
    assert float(split[1][-1].abs().max()) == 0, "a micro-batch of weight zero has no gradient"


@pytest.mark.parametrize("loss", SHARES)
def test_shares_of_a_micro_batch_depend_on_the_split(loss):
    """What docs/algorithms.md says of clip_cov and kl_cov: as verl on one micro-batch, something else on several."""
    values, about = batch(), stage(loss, "token-mean", options=SHARES[loss])
    tokens = int(values[-1].sum())
    torch.manual_seed(3)
    wanted, gradient = by_verl(about)
    torch.manual_seed(3)
    whole = found(Objective.of(about), [values], 1, tokens, 6)
    assert whole[0] == pytest.approx(wanted, rel=1e-5)
    torch.testing.assert_close(whole[1][0], gradient)
    split = found(Objective.of(about), list(trimmed((slice(0, 3), slice(3, 6)), values)), 1, tokens, 6)
    assert split[0] != pytest.approx(wanted, rel=1e-3)
    assert not LOSSES[loss].splits


@pytest.mark.parametrize(("loss", "aggregation"), COMBINATIONS)
def test_rows_without_advantage_can_stay_out_where_the_table_says_so(loss, aggregation):
    """Out of the pass, but not out of the counts."""
    values, heard, silent = list(batch()), [0, 2, 3], [1, 4, 5]
    values[3] = values[3].clone()
    values[3][silent] = 0
    objective = Objective.of(stage(loss, aggregation, options=SHARES.get(loss)))
    tokens, rollouts = int(values[-1].sum()), len(values[0])
    whole, (gradient,), _ = found(objective, [values], 1, tokens, rollouts)
    part, (gradient_of_part,), _ = found(objective, [[v[heard] for v in values]], 1, tokens, rollouts)
    assert gradient[heard].abs().max() > 1e-3, "a gradient of zero proves nothing"
    same = torch.allclose(gradient[heard], gradient_of_part, atol=1e-7) and not gradient[silent].any()
    assert same == LOSSES[loss].silent
    if same:
        assert part == pytest.approx(whole, abs=1e-6)


def test_a_loss_heeds_what_the_table_says_it_heeds():
    def value(**changes):
        torch.manual_seed(0)
        options = {**SHARES.get(loss, CHOOSING.get(loss, {})), **changes.pop("options", {})}
        about = stage(loss, LOSSES[loss].aggregation or "token-mean", options=options).model_copy(update=changes)
        values = batch()
        return float(policy_loss(Objective.of(about), Denominators(1, 30, 6), *values[:2], None, *values[3:])[0])

    other = {"clip_ratio_c": 1.01, "tau_pos": 2.0, "tau_neg": 2.0, "clip_cov_ratio": 0.9, "clip_cov_lb": 0.5, "clip_cov_ub": 0.1}
    other |= {"kl_cov_ratio": 0.9, "ppo_kl_coef": 0.7, "dro_beta": 0.9}
    assert other.keys() == LossOptions.model_fields.keys()
    for loss, known in LOSSES.items():
        assert {key for key in other if value(options={key: other[key]}) != value()} == set(known.options), loss
        narrow = {"clip_low": 1e-3, "clip_high": 1e-3}
        assert {value(**{key: narrow[key]}) != value() for key in narrow} == {known.clips}, loss
        assert (value(aggregation="seq-mean-token-sum") != value()) == (known.aggregation is None), loss


@pytest.mark.parametrize("estimator", ["k1+", "k2", "k3", "k3+"])
def test_kl_estimators_in_the_loss(estimator):
    new, old, reference, advantages, mask = batch()
    new = new.clone().requires_grad_()
    about = stage("vanilla", "token-mean", kl_coefficient=0.5, kl_estimator=estimator)
    over = Denominators(1, int(mask.sum()), 6)
    loss, sums = policy_loss(Objective.of(about), over, new, old, reference, advantages, mask)
    without, _ = policy_loss(Objective.of(about), over, new, old, None, advantages, mask)
    gap = [float(g) for g in (new - reference).detach()[mask]]
    value = {"k1": lambda d: d, "k2": lambda d: d * d / 2, "k3": lambda d: float(torch.tensor(-d).exp()) + d - 1}[estimator[:2]]
    slope = (lambda d: d) if estimator != "k3" else (lambda d: 1 - float(torch.tensor(-d).exp()))
    assert float((loss - without).detach()) == pytest.approx(0.5 * sum(map(value, gap)) / len(gap), rel=1e-4)
    assert float(sums["kl"]) == pytest.approx(sum(map(value, gap)), rel=1e-4)
    (gradient,) = torch.autograd.grad(loss - without, new)
    wanted = torch.tensor([0.5 * slope(d) / len(gap) for d in gap])
    torch.testing.assert_close(gradient[mask], wanted, rtol=1e-4, atol=1e-6)
