"""Small text helpers that several verifiers share."""

import json
import math
import re
import unicodedata
from typing import Any, NoReturn


def visible(text: str) -> str:
    """NFKC, without format characters (zero-width, bidi, soft hyphen) and with plain newlines: what a reader sees.

    Joiners between letters go too, so use it for counting and comparing, never for showing.
    """
    text = unicodedata.normalize("NFKC", text.replace("\r\n", "\n").replace("\r", "\n"))
    return "".join(character for character in text if unicodedata.category(character) not in ("Cf", "Cs", "Co"))


def letters(text: str) -> int:
    """How many letters (with marks: a vowel sign of Devanagari is one) a text has."""
    return sum(unicodedata.category(character)[0] in "LM" for character in text)


def words(text: str) -> list[str]:
    """Runs of letters and digits; apostrophes and hyphens inside belong to the word."""
    return re.findall(r"\w+(?:['’-]\w+)*", text)


def sentences(text: str) -> list[str]:
    """Runs that end in a full stop, question or exclamation mark; some may hold no letter."""
    return re.split(r"(?<=[.!?])[\"'”’)]*(?=\s|$)|(?<=[。！？।])", text)


def strict_json(text: str) -> Any:
    """Parse JSON by the standard. Raises ValueError for duplicate keys, NaN, infinities (as 1e999), depth and all else."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_refuse, parse_float=_finite)
    except RecursionError as error:
        raise ValueError("nested too deep") from error


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    result = dict(pairs)
    if len(result) != len(pairs):
        raise ValueError("a key occurs twice")
    return result


def _finite(number: str) -> float:
    value = float(number)
    return value if math.isfinite(value) else _refuse(number)


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no finite number")
