"""Values and names as error messages show them."""

import difflib
from collections.abc import Iterable
from typing import Any

_LONGEST = 60


def show(value: Any) -> str:
    """A found value, in YAML's terms and short."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return "a list"
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}..."


def listed(names: Iterable[Any]) -> str:
    """Names, sorted, with commas; `none` where there are none."""
    return ", ".join(sorted(map(str, names))) or "none"


def nearest(name: str, known: Iterable[str]) -> str:
    """The hint for an unknown name: the one it resembles, or else all known ones."""
    known = list(known)
    close = difflib.get_close_matches(name, known, n=1)
    return f"did you mean {close[0]}?" if close else f"known: {listed(known)}"
