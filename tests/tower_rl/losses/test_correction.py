"""Rollout correction against a loop, against verl's own pipeline, and its independence of how a batch is split."""

import numpy as np
import pytest
import torch
from verl.trainer.ppo.rollout_corr_helper import compute_rollout_correction_and_rejection_mask

from tower_rl.config.stages import Correction, Rejection
from tower_rl.losses.correction import REJECTIONS, correct
from tower_rl.losses.policy import Denominators, Objective, policy_loss

LENGTHS = (7, 1, 4, 6, 3, 5)
CORRECTIONS = [
    Correction(weights=weights, truncate=1.5, reject=reject)
    for weights in ("token", "sequence", "none")
    for reject in (
        None,
        Rejection(ratio="token", low=0.6, high=1.3),
        Rejection(ratio="sequence", low=0.4, high=1.8),
        Rejection(ratio="geometric", low=0.8, high=1.1),
    )
]
every = pytest.mark.parametrize("correction", CORRECTIONS, ids=lambda c: f"{c.weights}-{c.reject and c.reject.ratio}")


def batch():
    """old, rollout, new, reference, advantages, mask: [6, 7] each."""
    generator = torch.Generator().manual_seed(3)
    mask = torch.arange(7)[None] < torch.tensor(LENGTHS)[:, None]
    rollout = -3 * torch.rand(6, 7, generator=generator)
    old, new, reference = (rollout + 0.4 * torch.randn(6, 7, generator=generator) for _ in range(3))
    advantages = torch.randn(6, 1, generator=generator).expand(6, 7)
    return (*(x * mask for x in (old, rollout, new, reference, advantages)), mask)


def loop(correction, old, rollout):
    """For each row the weight of each token; 0 where rejected."""
    rows = []
    for length, o, r in zip(LENGTHS, old.double(), rollout.double(), strict=True):
        ratios = (o - r).exp()[:length].numpy()
        whole = np.full(length, np.prod(ratios))
        weights = {"token": ratios, "sequence": whole, "none": np.ones(length)}[correction.weights].clip(max=correction.truncate)
        if correction.weights == "none":
            weights = np.ones(length)
        if correction.reject is not None:
            held = {"token": ratios, "sequence": whole, "geometric": whole ** (1 / length)}[correction.reject.ratio]
            weights = weights * ((held >= correction.reject.low) & (held <= correction.reject.high))
        rows.append(weights)
    return rows


@every
def test_weights_against_a_loop(correction):
    old, rollout, *_, mask = batch()
    found, expected = correct(correction, old, rollout, mask), loop(correction, old, rollout)
    for row, weights in enumerate(expected):
        np.testing.assert_allclose(found.weights[row][mask[row]].numpy(), weights, rtol=1e-5)
        np.testing.assert_array_equal(found.kept[row][mask[row]].numpy(), weights > 0)
    assert not found.weights[~mask].any() and not found.kept[~mask].any()
    if correction.reject is not None:
        assert 0 < found.kept.sum() < mask.sum(), "bounds that reject all or nothing prove nothing"


@every
def test_figures(correction):
    old, rollout, *_, mask = batch()
    found, flat = correct(correction, old, rollout, mask), np.concatenate(loop(correction, old, rollout))
    difference = (old - rollout)[mask].double().numpy()
    whole = np.repeat((old - rollout).double().sum(1).exp().numpy(), LENGTHS)
    raw = {"token": np.exp(difference), "sequence": whole, "none": np.zeros(1)}[correction.weights]
    expected = {
        "correction/weight": flat.sum(),
        "correction/truncated": (raw > 1.5).sum(),
        "correction/rejected": (flat == 0).sum(),
        "correction/kl": (np.exp(difference) - difference - 1).sum(),
        "mismatch/mean": np.abs(difference).sum(),
        "mismatch/outside": (np.abs(difference) > np.log(1.25)).sum(),
    }
    assert {name: float(value) for name, value in found.sums.items()} == pytest.approx(expected, rel=1e-5)
    peaks = {"mismatch/max": np.abs(difference).max(), "correction/weight/max": flat.max()}
    assert {name: float(value) for name, value in found.peaks.items()} == pytest.approx(peaks, rel=1e-5)


@every
def test_against_verls_pipeline_on_the_whole_batch(correction):
    old, rollout, *_, mask = batch()
    reject = correction.reject
    weights, kept, metrics = compute_rollout_correction_and_rejection_mask(
        old,
        rollout,
        mask.float(),
        rollout_is=None if correction.weights == "none" else correction.weights,
        rollout_is_threshold=correction.truncate,
        rollout_rs=reject and REJECTIONS[reject.ratio],
        rollout_rs_threshold=reject and f"{1 / reject.high}_{1 / reject.low}",
    )
    rows = [correct(correction, *(x[part] for x in (old, rollout, mask))) for part in (slice(0, 2), slice(2, 5), slice(5, 6))]
    expected = kept if weights is None else weights.batch["rollout_is_weights"] * kept
    torch.testing.assert_close(torch.cat([row.weights for row in rows]), expected)
    total = {name: float(sum(row.sums[name] for row in rows)) / sum(LENGTHS) for name in rows[0].sums}
    assert total["correction/kl"] == pytest.approx(metrics["rollout_corr/k3_kl"], rel=1e-5)
    assert total["correction/rejected"] == pytest.approx(metrics.get("rollout_corr/rollout_rs_masked_fraction", 0), rel=1e-5)


def objective(correction, aggregation):
    return Objective("vanilla", aggregation, 0.2, 0.28, 0.3, "k3", correction=correction)


def loss(correction, aggregation, over, old, rollout, new, reference, advantages, mask):
    corrected = correct(correction, old, rollout, mask)
    return policy_loss(objective(correction, aggregation), over, new, old, reference, advantages, mask, corrected)


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
@every
def test_the_loss_against_a_loop_and_split_over_ranks(correction, aggregation):
    values = batch()
    old, rollout, new, reference, advantages = (x.double() for x in values[:-1])
    per_row = []
    for i, weights in enumerate(loop(correction, old, rollout)):
        losses = []
        for t, weight in enumerate(weights):
            ratio, a = float((new[i, t] - old[i, t]).exp()), float(advantages[i, t])
            surrogate = max(-a * ratio, -a * min(max(ratio, 0.8), 1.28))
            surrogate = min(surrogate, -3 * a) if a < 0 else surrogate
            gap = float(reference[i, t] - new[i, t])
            losses.append(surrogate * weight + 0.3 * (np.exp(gap) - gap - 1) * (weight > 0))
        per_row.append(losses)
    flat = {"token-mean": [x for row in per_row for x in row], "seq-mean-token-sum": [sum(row) for row in per_row]}
    expected = np.mean(flat.get(aggregation, [np.mean(row) for row in per_row]))
    whole, sums = loss(correction, aggregation, Denominators(1, sum(LENGTHS), 6), *values)
    assert float(whole) == pytest.approx(expected, rel=1e-5)

    two = Denominators(2, sum(LENGTHS), 6)
    parts = [loss(correction, aggregation, two, *(v[part] for v in values)) for part in (slice(0, 1), slice(1, 4), slice(4, 6))]
    assert float(sum(part for part, _ in parts)) / 2 == pytest.approx(expected, rel=1e-5)
    for name, total in sums.items():
        assert float(sum(s[name] for _, s in parts)) == pytest.approx(float(total), rel=1e-5), name


def test_without_a_correction_the_loss_is_that_of_the_old_policy_and_the_mismatch_that_of_the_sampling():
    old, rollout, new, reference, advantages, mask = values = batch()
    over = Denominators(1, sum(LENGTHS), 6)
    found, sums = loss(None, "token-mean", over, *values)
    plain, _ = policy_loss(objective(None, "token-mean"), over, new, old, reference, advantages, mask)
    assert float(found) == float(plain)
    assert float(sums["mismatch/mean"]) == pytest.approx(float((old - rollout).abs().sum()), rel=1e-6)


@every
def test_a_micro_batch_of_weight_zero_adds_nothing(correction):
    zero, nothing = torch.zeros(1, 1, requires_grad=True), torch.zeros(1, 1)
    over, mask = Denominators(2, 10, 3), torch.zeros(1, 1, dtype=torch.bool)
    found, sums = loss(correction, "token-mean", over, nothing, nothing, zero, nothing, nothing, mask)
    found.backward()
    assert float(found.detach()) == 0 and float(zero.grad) == 0 and all(float(v) == 0 for v in sums.values())


def test_a_batch_that_is_rejected_as_a_whole_moves_nothing():
    old, rollout, new, reference, advantages, mask = batch()
    new = new.clone().requires_grad_()
    correction = Correction(reject=Rejection(low=1, high=1))
    found, sums = loss(correction, "token-mean", Denominators(1, sum(LENGTHS), 6), old, rollout, new, reference, advantages, mask)
    found.backward()
    assert float(found.detach()) == 0 and not new.grad.any() and int(sums["correction/rejected"]) == sum(LENGTHS)
