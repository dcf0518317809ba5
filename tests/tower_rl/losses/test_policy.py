"""The policy loss against a loop, and its independence of how a batch is split."""

import numpy as np
import pytest
import torch

from tower_rl.losses.policy import Denominators, Objective, policy_loss


def batch(seed=0, rows=5, columns=7):
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, columns + 1, (rows,), generator=generator)
    mask = torch.arange(columns)[None] < lengths[:, None]
    new, old, reference = (-2 * torch.rand(rows, columns, generator=generator) * mask for _ in range(3))
    advantages = torch.randn(rows, 1, generator=generator) * mask
    return new, old, reference, advantages, mask


def objective(aggregation="token-mean", kl=0.3):
    return Objective("vanilla", aggregation, 0.2, 0.28, kl, "k3")


def loop(aggregation, kl, new, old, reference, advantages, mask):
    per_row = []
    for i in range(len(new)):
        losses = []
        for t in range(int(mask[i].sum())):
            ratio, a = float((new[i, t] - old[i, t]).exp()), float(advantages[i, t])
            surrogate = max(-a * ratio, -a * min(max(ratio, 0.8), 1.28))
            surrogate = min(surrogate, -3 * a) if a < 0 else surrogate
            gap = float(reference[i, t] - new[i, t])
            losses.append(surrogate + kl * (np.exp(gap) - gap - 1))
        per_row.append(losses)
    if aggregation == "token-mean":
        return np.mean([x for row in per_row for x in row])
    return np.mean([sum(row) if aggregation == "seq-mean-token-sum" else np.mean(row) for row in per_row])


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
def test_against_a_loop(aggregation):
    new, old, reference, advantages, mask = batch()
    over = Denominators(1, int(mask.sum()), len(new))
    loss, _ = policy_loss(objective(aggregation), over, new, old, reference, advantages, mask)
    assert float(loss) == pytest.approx(loop(aggregation, 0.3, new, old, reference, advantages, mask), rel=1e-5)


@pytest.mark.parametrize("aggregation", ["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"])
def test_split_over_micro_batches_and_ranks_equals_whole(aggregation):
    values = batch(1, rows=6)
    over = Denominators(1, int(values[-1].sum()), 6)
    whole, sums = policy_loss(objective(aggregation), over, *values)
    parts = [tuple(v[part] for v in values) for part in (slice(0, 1), slice(1, 4), slice(4, 6))]
    two_ranks = Denominators(2, over.tokens, over.rollouts)
    split = [policy_loss(objective(aggregation), two_ranks, *part) for part in parts]
    assert float(sum(loss for loss, _ in split)) / 2 == pytest.approx(float(whole), rel=1e-5)
    for name, total in sums.items():
        assert float(sum(s[name] for _, s in split)) == pytest.approx(float(total), rel=1e-5)


def test_clip_and_mismatch_counts():
    mask = torch.tensor([[True, True, True, False]])
    new = torch.tensor([[0.0, np.log(1.5), np.log(0.5), 9.0]], dtype=torch.float32)
    old = torch.zeros_like(new)
    up, down = torch.ones_like(new), -torch.ones_like(new)
    over = Denominators(1, 3, 1)
    _, sums = policy_loss(objective(), over, new, old, None, up, mask)
    assert (int(sums["clip_share"]), int(sums["mismatch/outside"])) == (1, 2)
    assert float(sums["mismatch/mean"]) == pytest.approx(np.log(1.5) + np.log(2), rel=1e-5)
    _, sums = policy_loss(objective(), over, new, old, None, down, mask)
    assert int(sums["clip_share"]) == 1


def test_a_micro_batch_of_weight_zero_adds_nothing():
    zero = torch.zeros(1, 1, requires_grad=True)
    loss, sums = policy_loss(
        objective(),
        Denominators(2, 10, 3),
        zero,
        zero.detach(),
        zero.detach(),
        zero.detach(),
        torch.zeros(1, 1, dtype=torch.bool),
    )
    loss.backward()
    assert float(loss) == 0 and float(zero.grad) == 0 and all(float(v) == 0 for v in sums.values())
