"""Several verdicts about one response as one: gates multiply a weighted mean, an all-of or a maximum."""

from collections.abc import Callable, Mapping, Sequence

from verifiers.types import Status, Verdict, invalid, scored


def weighted_mean(verdicts: Sequence[Verdict], weights: Sequence[float]) -> Verdict:
    """sum(weight * score) / sum(weights); passed when all passed. Raises ValueError unless the weights' sum is positive."""
    total = sum(weights)
    if total <= 0:
        raise ValueError(f"weights must have a positive sum, not {list(weights)}")
    score = sum(weight * _score(verdict) for verdict, weight in zip(verdicts, weights, strict=True)) / total
    return scored(min(score, 1.0), passed=all(verdict.passed for verdict in verdicts))  # min: rounding


def all_of(verdicts: Sequence[Verdict]) -> Verdict:
    """1 when all passed, else 0."""
    return scored(float(all(verdict.passed for verdict in verdicts)))


def max_of(verdicts: Sequence[Verdict]) -> Verdict:
    """The largest score; passed when any passed."""
    return scored(max(map(_score, verdicts)), passed=any(verdict.passed for verdict in verdicts))


def combine(
    verdicts: Mapping[str, Verdict],
    name: str,
    parts: Sequence[str],
    mix: Callable[[Sequence[Verdict]], Verdict],
    gates: Sequence[str] = (),
) -> Verdict:
    """score = the mix of the parts, times the score of each gate; passed when the mix and all gates passed.

    An invalid gate or part makes the whole invalid: its score is not known. Other verdicts are watched: their scores are in
    `parts` of the answer, but count for nothing. Raises KeyError for a gate or part without a verdict.
    """
    used = {part: verdicts[part] for part in [*gates, *parts]}
    scores = _scores(verdicts)
    flags = tuple(dict.fromkeys(flag for verdict in verdicts.values() for flag in verdict.flags))
    seconds = sum(verdict.seconds for verdict in verdicts.values())
    broken = {part: verdict.reason for part, verdict in used.items() if verdict.status is Status.INVALID}
    if broken:
        return invalid(_joined(broken), parts=scores, flags=flags, seconds=seconds, verifier=name)
    mixed = mix([used[part] for part in parts])
    score = _score(mixed)
    for gate in gates:
        score *= _score(used[gate])
    return scored(
        score,
        passed=bool(mixed.passed) and all(used[gate].passed for gate in gates),
        reason=_joined({part: verdict.reason for part, verdict in used.items() if verdict.reason}),
        parts=scores,
        flags=flags,
        seconds=seconds,
        verifier=name,
    )


def _score(verdict: Verdict) -> float:
    assert verdict.score is not None  # only called for scored verdicts
    return verdict.score


def _scores(verdicts: Mapping[str, Verdict]) -> dict[str, float]:
    """`part` -> score and `part/sub` -> score of the parts that were scored."""
    scores: dict[str, float] = {}
    for part, verdict in verdicts.items():
        if verdict.score is not None:
            scores[part] = verdict.score
        scores.update({f"{part}/{sub}": score for sub, score in verdict.parts.items()})
    return scores


def _joined(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{part}: {reason}" for part, reason in reasons.items())
