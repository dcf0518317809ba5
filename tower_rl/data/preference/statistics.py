"""What pairs are like. Length bias is what goes wrong with preferences: it is shown for all pairs and for each language pair.

All figures come from sums, so that the statistics of shards add up to those of the whole.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import inf, sqrt
from typing import Any

from tower_rl.data.preference.types import Pair, is_policy
from tower_rl.data.rows import Reject


@dataclass(frozen=True, slots=True)
class Gaps:
    """Sums over pairs. Lengths are in tokens; gaps are chosen less rejected."""

    pairs: int = 0
    longer: int = 0
    """Pairs whose chosen answer is the longer."""
    shorter: int = 0
    chosen: int = 0
    """Tokens of chosen answers."""
    rejected: int = 0
    scored: int = 0
    """Pairs in which both answers have a score; the sums below are over these."""
    lengths: int = 0
    """Length gaps x."""
    scores: float = 0.0
    """Score gaps y."""
    xx: float = 0.0
    yy: float = 0.0
    xy: float = 0.0
    least: float = inf
    """The smallest score gap."""

    def __add__(self, other: "Gaps") -> "Gaps":
        sums = {name: getattr(self, name) + getattr(other, name) for name in self.__slots__}
        return Gaps(**sums | {"least": min(self.least, other.least)})

    @property
    def correlation(self) -> float | None:
        """Pearson's, of length gap and score gap; None where one of them does not vary."""
        n, x, y = self.scored, self.lengths, self.scores
        x_spread, y_spread = n * self.xx - x * x, n * self.yy - y * y
        if x_spread <= _ROUNDING * n * self.xx or y_spread <= _ROUNDING * n * self.yy:
            return None
        return (n * self.xy - x * y) / sqrt(x_spread * y_spread)

    def report(self) -> dict[str, float | None]:
        """Figures by name; None where there is nothing to take them from."""
        return {
            "pairs": self.pairs,
            "chosen_longer": _ratio(self.longer, self.pairs),
            "chosen_shorter": _ratio(self.shorter, self.pairs),
            "length_gap": _ratio(self.chosen - self.rejected, self.pairs),
            "chosen_length": _ratio(self.chosen, self.pairs),
            "rejected_length": _ratio(self.rejected, self.pairs),
            "scored": self.scored,
            "score_gap": _ratio(self.scores, self.scored),
            "least_score_gap": self.least if self.scored else None,
            "length_score_correlation": self.correlation,
        }


@dataclass(frozen=True, slots=True)
class Statistics:
    """What became of prompts and their answers."""

    languages: Mapping[str, Gaps] = field(default_factory=dict)
    """By language pair; under "" those of none."""
    chosen: Counter[str] = field(default_factory=Counter)
    """Pairs by the origin of the chosen answer."""
    rejected: Counter[str] = field(default_factory=Counter)
    """Pairs by the origin of the rejected answer."""
    dropped: Counter[str] = field(default_factory=Counter)
    """Rows, answers and prompts that are not used, by reason."""

    def __add__(self, other: "Statistics") -> "Statistics":
        names, none = (*self.languages, *other.languages), Gaps()
        return Statistics(
            {name: self.languages.get(name, none) + other.languages.get(name, none) for name in names},
            self.chosen + other.chosen,
            self.rejected + other.rejected,
            self.dropped + other.dropped,
        )

    def report(self) -> dict[str, Any]:
        """Nested figures for the run's report, as JSON can hold them."""
        return sum(self.languages.values(), Gaps()).report() | {
            "languages": {name: gaps.report() for name, gaps in sorted(self.languages.items())},
            "chosen_origins": dict(sorted(self.chosen.items())),
            "rejected_origins": dict(sorted(self.rejected.items())),
            "chosen_on_policy": _on_policy(self.chosen),
            "rejected_on_policy": _on_policy(self.rejected),
            "dropped": dict(sorted(self.dropped.items())),
        }


def statistics(pairs: Iterable[Pair], rejects: Iterable[Reject] = ()) -> Statistics:
    """Of these; `sum(shards, Statistics())` adds those of several shards."""
    languages: dict[str, Gaps] = {}
    chosen, rejected = Counter[str](), Counter[str]()
    for pair in pairs:
        name = pair.prompt.language_pair or ""
        languages[name] = languages.get(name, Gaps()) + _gaps(pair)
        chosen[pair.chosen.origin] += 1
        rejected[pair.rejected.origin] += 1
    return Statistics(languages, chosen, rejected, Counter(reject.reason for reject in rejects))


_ROUNDING = 1e-12
"""Relative spread that rounding alone may make."""


def _gaps(pair: Pair) -> Gaps:
    x, y = pair.length_gap, pair.score_gap
    lengths = {"chosen": len(pair.chosen.token_ids), "rejected": len(pair.rejected.token_ids)}
    gaps = Gaps(pairs=1, longer=int(x > 0), shorter=int(x < 0), **lengths)
    if y is None:
        return gaps
    return gaps + Gaps(scored=1, lengths=x, scores=y, xx=x * x, yy=y * y, xy=x * y, least=y)


def _on_policy(origins: Counter[str]) -> float | None:
    return _ratio(sum(count for origin, count in origins.items() if is_policy(origin)), origins.total())


def _ratio(value: float, count: int) -> float | None:
    return value / count if count else None
