"""Is an answer the expected one? Data only: `verifiers.code.data` has taken everything else away."""

import math
from typing import Any

from verifiers.code.data import canonical


def same(found: Any, expected: Any, atol: float = 0.0, rtol: float = 0.0) -> bool:
    """Equal in value and in every type; floats anywhere inside within atol + rtol * |expected|, and nan is nan."""
    if type(found) is not type(expected):
        return False
    if type(expected) is float:
        return _near(found, expected, atol, rtol)
    if type(expected) in (list, tuple):
        return len(found) == len(expected) and all(same(*pair, atol, rtol) for pair in zip(found, expected, strict=True))
    if type(expected) is dict:
        values = {canonical(key): value for key, value in found.items()}
        wanted = {canonical(key): value for key, value in expected.items()}
        return values.keys() == wanted.keys() and all(same(values[key], wanted[key], atol, rtol) for key in wanted)
    return canonical(found) == canonical(expected)


def same_text(found: str, expected: str, atol: float = 0.0) -> bool:
    """Equal but for white space at line ends and empty lines at the end; with a tolerance, word by word."""
    if not atol:
        return _lines(found) == _lines(expected)
    words, wanted = found.split(), expected.split()
    return len(words) == len(wanted) and all(_same_word(*pair, atol) for pair in zip(words, wanted, strict=True))


def _near(found: float, expected: float, atol: float, rtol: float) -> bool:
    if math.isnan(found) or math.isnan(expected):
        return math.isnan(found) and math.isnan(expected)
    return found == expected or (math.isfinite(expected) and abs(found - expected) <= atol + rtol * abs(expected))


def _lines(text: str) -> list[str]:
    return [line.rstrip() for line in text.rstrip().splitlines()]


def _same_word(word: str, wanted: str, atol: float) -> bool:
    try:
        return word == wanted or _near(float(word), float(wanted), atol, 0.0)
    except ValueError:
        return False
