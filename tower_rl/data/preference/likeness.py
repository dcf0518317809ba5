"""How alike two answers are. Case and punctuation count: they may be what makes one the better."""

from tower_rl.data.corpus.cleaning.normalise import normalised

GRAM = 3
"""Characters of a run."""


def equal(one: str, other: str) -> bool:
    """Whether they look the same."""
    return plain(one) == plain(other)


def jaccard(one: str, other: str) -> float:
    """Share of the runs of GRAM characters in either text that are in both; a shorter text is one run."""
    left, right = _runs(plain(one)), _runs(plain(other))
    return len(left & right) / len(left | right)


def plain(text: str) -> str:
    """What a reader sees of a text."""
    return normalised(text).strip()


def _runs(text: str) -> set[str]:
    return {text[begin : begin + GRAM] for begin in range(max(1, len(text) - GRAM + 1))}
