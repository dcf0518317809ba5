"""Warnings of length bias in pairs: what goes wrong with preferences first, and is easily not seen."""

from collections.abc import Mapping, Sequence
from math import sqrt
from typing import Any

from tower_rl.reporting.text import shortened

LONGER = 0.65
"""Share of pairs in which the chosen answer is the longer (or the shorter) one, above which it is called a bias."""
CORRELATION = 0.3
"""Correlation of length gap and score gap, of either sign, beyond which it is called a bias."""
ERRORS = 2.0
"""Standard errors that a bias must be away from balance: three pairs say nothing."""
NAME_CHARACTERS = 80

Row = Mapping[str, Any]

_LENGTH_TELLS = (
    f"Above {LONGER:.0%}, length alone often tells which answer is preferred: training may teach to write {{}}, not better."
)
_SCORE_TELLS = f"Beyond {CORRELATION:g}, a part of what the score prefers is {{}}: the larger the win, the {{}} the winner."


def length_warnings(row: Row) -> list[str]:
    """Sentences about strong length bias in the pairs of a round, over all of them or in a language pair.

    Strong is a share above LONGER or a correlation beyond CORRELATION, if it is ERRORS standard errors from balance.
    """
    figures = scopes(row["statistics"])
    longer, shorter = _uneven(figures, "chosen_longer"), _uneven(figures, "chosen_shorter")
    rising, falling = _correlated(figures, 1), _correlated(figures, -1)
    sentences = (
        (longer, f"the chosen answer is the longer one in {longer}. {_LENGTH_TELLS.format('longer')}"),
        (shorter, f"the chosen answer is the shorter one in {shorter}. {_LENGTH_TELLS.format('shorter')}"),
        (rising, f"length gap and score gap correlate by {rising}. {_SCORE_TELLS.format('length', 'longer')}"),
        (falling, f"length gap and score gap correlate by {falling}. {_SCORE_TELLS.format('brevity', 'shorter')}"),
    )
    return [f"Round {row['round']}: {sentence}" for found, sentence in sentences if found]


def scopes(statistics: Row) -> list[tuple[str, Row]]:
    """Names and figures: those of all pairs, then those of each language pair."""
    return [("all", statistics), *((short_name(name) or "none", gaps) for name, gaps in statistics["languages"].items())]


def short_name(name: str) -> str:
    """A name out of the data on one line of a decent length."""
    return shortened(" ".join(name.split()), NAME_CHARACTERS)


def _uneven(figures: Sequence[tuple[str, Row]], key: str) -> str:
    # where either is as likely, 2 * share - 1 has the standard error 1 / sqrt(pairs)
    found = [
        f"{gaps[key]:.0%} of {gaps['pairs']} pairs ({name})"
        for name, gaps in figures
        if gaps[key] is not None and gaps[key] > LONGER and (2 * gaps[key] - 1) * sqrt(gaps["pairs"]) >= ERRORS
    ]
    return ", ".join(found)


def _correlated(figures: Sequence[tuple[str, Row]], sign: int) -> str:
    found = [(name, gaps["length_score_correlation"], gaps["scored"]) for name, gaps in figures]
    # where there is no relation, a correlation has the standard error 1 / sqrt(pairs - 1)
    strong = [
        f"{value:+.2f} over {count} pairs ({name})"
        for name, value, count in found
        if value is not None and sign * value > CORRELATION and abs(value) * sqrt(count - 1) >= ERRORS
    ]
    return ", ".join(strong)
