"""pass@k over many samples a problem, as HumanEval's paper and evalplus count it."""

import math
from collections.abc import Iterable


def pass_at_k(samples: int, passed: int, k: int) -> float:
    """Probability that one of k samples, drawn without replacement, is right. Raises ValueError for impossible numbers."""
    if not (0 <= passed <= samples and 1 <= k <= samples):
        raise ValueError(f"pass@{k} of {samples} samples, {passed} of them right")
    return 1.0 - math.comb(samples - passed, k) / math.comb(samples, k)


def mean_pass_at_k(counts: Iterable[tuple[int, int]], k: int) -> float:
    """The mean over problems of (samples, passed). Raises ValueError also when there is no problem."""
    each = [pass_at_k(samples, passed, k) for samples, passed in counts]
    if not each:
        raise ValueError("pass@k of no problem")
    return sum(each) / len(each)
