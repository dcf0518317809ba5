"""Which two of a prompt's candidates become its pair.

The rules for the best against the worst are those of the second version of the WPO authors' hybrid data (Zhou et al. 2024,
arXiv 2406.11827): among equally good answers the shortest is chosen, among equally bad ones that nearest to it in length is
rejected. Their first version drew the rejected answer at random.

No result depends on the order of the candidates.
"""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from math import isfinite
from typing import NamedTuple

from tower_rl.data.preference.likeness import equal, jaccard, plain
from tower_rl.data.preference.types import Candidate, Candidates, Pair, allowed, matches
from tower_rl.data.rows import Reject
from tower_rl.types import Prompt, StopReason

_ROUNDING = 1e-9
"""So that 0.9 is above 0.8 by a margin of 0.1, though not in floating point."""

Loss = tuple[str, str]
"""Reason, and what it says of this case."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What to select."""

    rule: str
    """Name of an entry of RULES."""
    max_tokens: int
    """Most tokens of a prompt and an answer together."""
    seed: int
    """Of what is drawn."""
    margin: float = 0.0
    """Least gap between chosen and rejected: of scores, or by the rule `ranked` of places. No pair has a gap of 0."""
    chosen_from: tuple[str, ...] = ()
    """Origins that may be chosen, by names as in `types.matches`; empty for all."""
    rejected_from: tuple[str, ...] = ()
    """Origins that may be rejected."""
    similarity: float = 1.0
    """Character n-gram similarity above which two answers make no pair."""
    order: tuple[str, ...] = ()
    """Names of origins, the preferred first, by which the rule `ranked` goes; the first that means an origin is its place."""


class _Contender(NamedTuple):
    """A candidate that can be used."""

    candidate: Candidate
    value: float
    """The higher the better."""

    @property
    def length(self) -> int:
        return len(self.candidate.token_ids)

    @property
    def identity(self) -> str:
        """Puts candidates that the rule cannot tell apart into an order of their own."""
        one = self.candidate
        return repr((one.text, one.origin, one.token_ids, one.score, sorted(one.scores.items()), one.reason))


class Rule(NamedTuple):
    """How candidates are compared."""

    value: Callable[[Candidate, Selection], float | Loss]
    """How good a candidate is, or why that cannot be said."""
    rejected: Callable[[_Contender, list[_Contender], str], list[_Contender]]
    """From the chosen, the others and a seed: the others, the first to be rejected if it is fit."""


def select(candidates: Candidates, selection: Selection) -> tuple[Pair | None, list[Reject]]:
    """The pair of a prompt, and why answers were not used; None with one more reject, which says why there is no pair.

    Reasons begin with `answer:` or `pair:`. An answer that is fit to be rejected differs from the chosen one and is worse by the
    margin; the first such one in the order of the rule is taken. If there is none, the reason is that of the first.
    """
    prompt, rule = candidates.prompt, RULES[selection.rule]
    contenders, rejects = [], []
    for candidate in candidates.candidates:
        value = _flaw(prompt, candidate, selection) or rule.value(candidate, selection)
        if isinstance(value, float):
            contenders.append(_Contender(candidate, value))
        else:
            reason, detail = value
            rejects.append(Reject(prompt.source, prompt.id, f"answer: {reason}", f"{candidate.origin}: {detail}"))
    outcome = _pair(prompt, contenders, selection)
    if isinstance(outcome, Pair):
        return outcome, rejects
    reason, detail = outcome
    return None, [*rejects, Reject(prompt.source, prompt.id, f"pair: {reason}", detail)]


def _pair(prompt: Prompt, contenders: Sequence[_Contender], selection: Selection) -> Pair | Loss:
    rule = RULES[selection.rule]
    if len(contenders) < 2:
        return "fewer than two answers", f"{len(contenders)} can be used"
    best = [one for one in contenders if allowed(one.candidate.origin, selection.chosen_from)]
    if not best:
        return "none to choose", _origins(contenders)
    chosen = min(best, key=lambda one: (-one.value, one.length, one.identity))
    others = [one for one in contenders if one is not chosen and allowed(one.candidate.origin, selection.rejected_from)]
    if not others:
        return "none to reject", _origins(contenders)
    ordered = rule.rejected(chosen, others, f"{selection.seed}/{prompt.id}")
    outcomes = (_objection(chosen, other, selection) or Pair(prompt, chosen.candidate, other.candidate) for other in ordered)
    first = next(outcomes)
    return next((outcome for outcome in chain([first], outcomes) if isinstance(outcome, Pair)), first)


def _flaw(prompt: Prompt, candidate: Candidate, selection: Selection) -> Loss | None:
    """Why no rule can use a candidate."""
    total = len(prompt.token_ids) + len(candidate.token_ids)
    if not candidate.token_ids or not plain(candidate.text):
        return "empty", repr(candidate.text)
    if candidate.stop_reason is StopReason.LENGTH:
        return "cut", f"at {len(candidate.token_ids)} tokens"
    if total > selection.max_tokens:
        return "over-length", f"{total} tokens with its prompt, above {selection.max_tokens}"
    return None


def _objection(chosen: _Contender, other: _Contender, selection: Selection) -> Loss | None:
    """Why the other cannot be rejected beside the chosen one."""
    texts = chosen.candidate.text, other.candidate.text
    gap = chosen.value - other.value
    if equal(*texts):
        return "equal answers", texts[0]
    if gap <= 0:
        return "no gap", f"{chosen.value:g} against {other.value:g}"
    if gap < selection.margin - _ROUNDING:
        return "below the margin", f"{chosen.value:g} against {other.value:g}"
    if (likeness := jaccard(*texts)) > selection.similarity:
        return "near-duplicates", f"{likeness:.2f} alike"
    return None


def _origins(contenders: Sequence[_Contender]) -> str:
    return ", ".join(sorted({one.candidate.origin for one in contenders}))


def _score(candidate: Candidate, _: Selection) -> float | Loss:
    if candidate.score is None or not isfinite(candidate.score):
        return "invalid score", candidate.reason or str(candidate.score)
    return float(candidate.score)


def _place(candidate: Candidate, selection: Selection) -> float | Loss:
    places = (-float(place) for place, name in enumerate(selection.order) if matches(candidate.origin, name))
    return next(places, ("not in the order", ", ".join(selection.order)))


def _worst_first(chosen: _Contender, others: list[_Contender], _: str) -> list[_Contender]:
    return sorted(others, key=lambda one: (one.value, abs(one.length - chosen.length), one.identity))


def _shuffled(_: _Contender, others: list[_Contender], seed: str) -> list[_Contender]:
    others = sorted(others, key=lambda one: (one.value, one.identity))
    random.Random(seed).shuffle(others)
    return others


RULES = {
    "best_worst": Rule(_score, _worst_first),
    "best_random": Rule(_score, _shuffled),
    "ranked": Rule(_place, _worst_first),
}
"""By name: the best against the worst by score; against any other; and the best against the worst by `Selection.order`."""
