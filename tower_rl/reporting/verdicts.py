"""What a step's verdicts say about each verifier, as metrics."""

import re
from collections import Counter
from collections.abc import Iterable, Sequence

import numpy as np

from tower_rl.types import ScoredGroup
from verifiers.types import Verdict

_NUMBER_AT_END = re.compile(r"/\d+$")
"""Tests of a program are numbered, and there may be a thousand: their mean is the metric."""


def verdict_figures(scored: Sequence[ScoredGroup]) -> dict[str, float]:
    """For each verifier that prompts name: shares of its verdicts, mean scores of the parts, and seconds a response.

    `verifier/NAME/passed` and `part/PART` are over valid verdicts; `invalid`, `invalid/REASON` (the reason up to its first
    colon) and `flag/FLAG` over all; `seconds_p50` and `seconds_p99` are percentiles.
    """
    named = by_verifier(scored).items()
    return {f"verifier/{name}/{key}": value for name, verdicts in named for key, value in _figures(verdicts).items()}


def by_verifier(scored: Sequence[ScoredGroup]) -> dict[str, list[Verdict]]:
    """The verdicts of each verifier that prompts name."""
    found: dict[str, list[Verdict]] = {}
    for group in scored:
        found.setdefault(group.prompt.verifier, []).extend(group.verdicts)
    return found


def _figures(verdicts: Sequence[Verdict]) -> dict[str, float]:
    valid = [verdict for verdict in verdicts if verdict.score is not None]
    parts: dict[str, list[float]] = {}
    for verdict in verdicts:
        for part, score in verdict.parts.items():
            parts.setdefault(_NUMBER_AT_END.sub("", part), []).append(score)
    seconds = [verdict.seconds for verdict in verdicts]
    return {
        **({"passed": sum(bool(verdict.passed) for verdict in valid) / len(valid)} if valid else {}),
        "invalid": 1 - len(valid) / len(verdicts),
        **_shares("invalid", (verdict.reason.partition(":")[0] for verdict in verdicts if verdict.score is None), len(verdicts)),
        **_shares("flag", (flag for verdict in verdicts for flag in verdict.flags), len(verdicts)),
        **{f"part/{part}": float(np.mean(scores)) for part, scores in parts.items()},
        "seconds_p50": float(np.percentile(seconds, 50)),
        "seconds_p99": float(np.percentile(seconds, 99)),
    }


def _shares(prefix: str, names: Iterable[str], of: int) -> dict[str, float]:
    return {f"{prefix}/{name}": count / of for name, count in Counter(names).items()}
