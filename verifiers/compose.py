"""Several verdicts about one response as one: gates multiply a weighted sum."""

from collections.abc import Mapping, Sequence

from verifiers.types import Status, Verdict, invalid, scored


def combine(verdicts: Mapping[str, Verdict], gates: Sequence[str], weights: Mapping[str, float], name: str) -> Verdict:
    """score = product of the gates * sum(weight * score) / sum(weights); passed when all of them passed.

    An invalid gate or weighted part makes the whole invalid: its score is not known. Other verdicts are watched: their scores
    are in `parts`, but count for nothing. Raises KeyError for a gate or weight without a verdict, ValueError without weights.
    """
    total = sum(weights.values())
    if total <= 0:
        raise ValueError(f"{name}: weights must have a positive sum, not {dict(weights)}")
    used = {part: verdicts[part] for part in [*gates, *weights]}
    parts = _parts(verdicts)
    flags = tuple(dict.fromkeys(flag for verdict in verdicts.values() for flag in verdict.flags))
    seconds = sum(verdict.seconds for verdict in verdicts.values())
    broken = {part: verdict.reason for part, verdict in used.items() if verdict.status is Status.INVALID}
    if broken:
        return invalid(_joined(broken), parts=parts, flags=flags, seconds=seconds, verifier=name)
    score = sum(weight * _score(used[part]) for part, weight in weights.items()) / total
    for gate in gates:
        score *= _score(used[gate])
    return scored(
        min(score, 1.0),  # rounding
        passed=all(verdict.passed for verdict in used.values()),
        reason=_joined({part: verdict.reason for part, verdict in used.items() if verdict.reason}),
        parts=parts,
        flags=flags,
        seconds=seconds,
        verifier=name,
    )


def _score(verdict: Verdict) -> float:
    assert verdict.score is not None  # only called for scored verdicts
    return verdict.score


def _parts(verdicts: Mapping[str, Verdict]) -> dict[str, float]:
    """`part` -> score and `part/sub` -> score of the parts that were scored."""
    parts: dict[str, float] = {}
    for part, verdict in verdicts.items():
        if verdict.score is not None:
            parts[part] = verdict.score
        parts.update({f"{part}/{sub}": score for sub, score in verdict.parts.items()})
    return parts


def _joined(reasons: Mapping[str, str]) -> str:
    return "; ".join(f"{part}: {reason}" for part, reason in reasons.items())
