"""Texts of models and verifiers, made fit to be stored and shown."""

from math import isfinite
from unicodedata import category


def storable(text: str) -> str:
    """The text with `?` for lone surrogates, which no UTF-8 file can hold and a model can make a verifier quote."""
    return text.encode("utf-8", errors="replace").decode("utf-8")


def printable(text: str) -> str:
    """The text with U+FFFD for control characters, which a terminal would obey, but for line ends and tabs.

    Only categories Cc and Cs: joiners and direction marks (Cf) belong to the spelling of many languages.
    """
    return "".join("\ufffd" if category(char) in ("Cc", "Cs") and char not in "\n\t" else char for char in text)


def shortened(text: str, limit: int) -> str:
    """At most `limit` characters of a text, and how many more there are."""
    return text if len(text) <= limit else f"{text[:limit]} … {len(text) - limit} more characters"


def figure(value: float | None, form: str) -> str:
    """A figure in a format; `--` where there is none, or none that is finite."""
    return "--" if value is None or not isfinite(value) else format(value, form)


def span(seconds: float) -> str:
    """A time in words: `40 s`, `3 min`, `2.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
