"""Made-up log-probabilities of answers."""

import torch

from tower_rl.losses.preference import Scores


def scores(seed, pairs=6, columns=5, dtype=torch.float64, grad=False):
    """One side of pairs whose answers are of random length; what stands behind their end is NaN."""
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(columns)[None] < torch.randint(1, columns + 1, (pairs, 1), generator=generator)
    drawn = (-3 * torch.rand(pairs, columns, generator=generator, dtype=dtype) for _ in range(3))
    logprobs, reference, aligned = (each.masked_fill(~mask, torch.nan) for each in drawn)
    return Scores(logprobs.requires_grad_(grad), mask, reference, aligned)
