"""Where placeholders and tags stand in a text: what a task must not tear apart unless it means to."""

import re
from dataclasses import dataclass
from functools import lru_cache

from verifiers.translation import markup

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
# The same few texts are asked for by one maker of flaws after another, hence the small caches below.
_SIGNS = re.compile(r"[%{<$]")


@dataclass(frozen=True, slots=True)
class Mark:
    """A placeholder or a tag."""

    start: int
    end: int
    text: str


@lru_cache(16)
def marks(text: str) -> tuple[Mark, ...]:
    """Tags, and placeholders outside of tags, in their order; none overlaps another."""
    if not _SIGNS.search(text):
        return ()
    found = [Mark(match.start(), match.end(), match.group()) for match in _TAG.finditer(text)]
    wanted = sorted(markup.placeholders(text), key=len, reverse=True)
    if wanted:
        pattern = re.compile("|".join(map(re.escape, wanted)))
        outside = _TAG.sub(lambda match: "\0" * len(match.group()), text)
        found += [Mark(match.start(), match.end(), match.group()) for match in pattern.finditer(outside)]
    return tuple(sorted(found, key=lambda mark: mark.start))


@lru_cache(16)
def masked(text: str) -> str:
    """The text with its marks as NUL characters, so that no word or number is found in them; positions stay."""
    pieces, end = [], 0
    for mark in marks(text):
        pieces += [text[end : mark.start], "\0" * len(mark.text)]
        end = mark.end
    return "".join([*pieces, text[end:]])
