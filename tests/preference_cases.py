"""Pairs and objectives that ranks of preference optimization and their plain counterparts both compute."""

import numpy as np
from helpers import VOCABULARY, prompt

from tower_rl.data.preference.types import Candidate, Pair
from tower_rl.losses.preference import Objective, Weighting

LENGTHS = ((3, 20, 1), (8, 9, 14), (5, 1, 19), (2, 12, 12), (7, 15, 6))
"""Tokens of prompt, chosen and rejected answer; with a budget of TIGHT no two pairs fit into one micro-batch."""
TIGHT = 40
WEIGHTINGS = {
    f"wpo {alignment}{' clamped' if clamp else ''}": Weighting(alignment, clamp)
    for alignment in ("sampled", "greedy", "none")
    for clamp in (True, False)
}
OBJECTIVES = {
    "dpo": Objective("dpo", 0.3, label_smoothing=0.1),
    "dpo nll": Objective("dpo", 0.3, nll_weight=0.7),
    "dpo_norm": Objective("dpo_norm", 2.0),
    "ipo": Objective("ipo", 0.4),
    "simpo": Objective("simpo", 2.0, margin=0.5),
    "orpo": Objective("orpo", 0.5, nll_weight=1.0),
    "kto": Objective("kto", 0.3),
    **{name: Objective("dpo", 0.3, weighting=weighting) for name, weighting in WEIGHTINGS.items()},
    "wpo nll": Objective("dpo", 0.3, weighting=Weighting("sampled", clamp=True), nll_weight=0.7),
    "ipo wpo": Objective("ipo", 0.4, weighting=Weighting("sampled", clamp=True)),
    "simpo wpo": Objective("simpo", 2.0, margin=0.5, weighting=Weighting("greedy", clamp=False)),
}


def random_pairs(seed=0):
    """Pairs of random tokens, as long as LENGTHS says.

    The chosen answer of every other one repeats the prompt's last token: a model whose embeddings are tied likes that, so that
    weights lie on both sides of 1.
    """
    rng = np.random.default_rng(seed)
    pairs = []
    for i, lengths in enumerate(LENGTHS):
        first, chosen, rejected = (tuple(rng.integers(3, VOCABULARY, length).tolist()) for length in lengths)
        answers = (first[-1:] * len(chosen) if i % 2 else chosen), rejected
        pairs.append(Pair(prompt(first, i), *(Candidate("", answer, "policy@0", {}, None) for answer in answers)))
    return pairs
