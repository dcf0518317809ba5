"""Advantage and loss of every file in configs/presets against a loop over the paper's formula."""

from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import random_groups

from tower_rl.advantage import estimate
from tower_rl.config.load import load
from tower_rl.losses.policy import Denominators, Objective, policy_loss

PRESETS = Path(__file__).parents[2] / "configs" / "presets"


def clipped(ratio, a, low, high):
    return -min(ratio * a, min(max(ratio, 1 - low), 1 + high) * a)


def grpo(groups):
    rows = []
    for rewards, responses in groups:
        for r, (new, old, ref) in zip(rewards, responses, strict=True):
            a = (r - np.mean(rewards)) / np.std(rewards, ddof=1)
            tokens = [clipped(np.exp(n - o), a, 0.2, 0.2) + 0.04 * (np.exp(f - n) - (f - n) - 1)
                      for n, o, f in zip(new, old, ref, strict=True)]  # fmt: skip
            rows.append(np.mean(tokens))
    return np.mean(rows)


def dr_grpo(groups):
    rows = []
    for rewards, responses in groups:
        for r, (new, old, _) in zip(rewards, responses, strict=True):
            ratios = np.exp(new - old)
            rows.append(sum(clipped(x, r - np.mean(rewards), 0.2, 0.2) for x in ratios) / 64)
    return np.mean(rows)


def dapo(groups):
    tokens = []
    for rewards, responses in groups:
        for r, (new, old, _) in zip(rewards, responses, strict=True):
            a = (r - np.mean(rewards)) / np.std(rewards, ddof=1)
            tokens += [clipped(x, a, 0.2, 0.28) for x in np.exp(new - old)]
    return np.mean(tokens)


def gspo(groups):
    rows = []
    for rewards, responses in groups:
        for r, (new, old, _) in zip(rewards, responses, strict=True):
            a = (r - np.mean(rewards)) / np.std(rewards, ddof=1)
            rows.append(clipped(np.exp(np.mean(new - old)), a, 3e-4, 4e-4))
    return np.mean(rows)


def reinforce_plus_plus(groups):
    tokens = []
    for rewards, responses in groups:
        for r, (new, old, ref) in zip(rewards, responses, strict=True):
            tokens += [(np.exp(new - old)[t], r - 0.01 * sum((old - ref)[t:])) for t in range(len(new))]
    mean, std = np.mean([x for _, x in tokens]), np.std([x for _, x in tokens], ddof=1)
    return np.mean([clipped(ratio, (x - mean) / std, 0.2, 0.2) for ratio, x in tokens])


LOOPS = {f.__name__: f for f in (grpo, dr_grpo, dapo, gspo, reinforce_plus_plus)}


def test_every_preset_has_a_loop():
    assert {path.stem for path in PRESETS.glob("*.yaml")} == LOOPS.keys()


@pytest.mark.parametrize("name", LOOPS)
def test_against_a_loop(name):
    (stage,) = load(PRESETS / f"{name}.yaml").stages
    sizes = (1, 1, 1, 1) if name == "reinforce_plus_plus" else (4, 2, 3)
    groups, _ = random_groups(3, sizes)
    rng = np.random.default_rng(3)
    spread = 2e-3 if name == "gspo" else 0.4
    rewards = [rng.random(size).astype(np.float32) for size in sizes]
    flat = [r for g in groups for r in g.rollouts]
    news, references = ([r.logprobs + s * rng.standard_normal(len(r.logprobs)) for r in flat] for s in (spread, 0.5))

    taken = [stage.kl_coefficient * (r.logprobs - f).astype(np.float32) for r, f in zip(flat, references, strict=True)]
    found = estimate(stage, groups, rewards, penalties=taken if stage.kl_in == "reward" else None)

    def padded(rows):
        return torch.nn.utils.rnn.pad_sequence([torch.tensor(row, dtype=torch.float32) for row in rows], batch_first=True)

    values = [np.broadcast_to(a, len(r.logprobs)) for a, r in zip((a for own in found for a in own), flat, strict=True)]
    mask = padded([np.ones(len(r.logprobs)) for r in flat]).bool()
    old, reference = padded([r.logprobs for r in flat]), padded(references)
    in_loss = reference if stage.kl_in == "loss" and stage.kl_coefficient else None
    over = Denominators(1, int(mask.sum()), len(flat))
    loss, sums = policy_loss(Objective.of(stage), over, padded(news), old, in_loss, padded(values), mask)

    responses = iter(zip(news, (r.logprobs for r in flat), references, strict=True))
    wanted = LOOPS[name]([(own, [next(responses) for _ in own]) for own in rewards])
    assert float(loss) == pytest.approx(wanted, rel=1e-3, abs=1e-6)
    assert sums["clip_share"] > 0, "the test must reach the clip"
