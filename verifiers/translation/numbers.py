"""Numbers of a source that must reappear in its translation, in whatever digits and separators the locale has."""

import re
import unicodedata
from collections import Counter

_SPACES = "\u00a0\u202f\u2009 "
TOKEN = re.compile(rf"\d+(?:[.,٫٬'’{_SPACES}]\d+)*")
"""A number with its separators."""
_ORDINAL_SAFE = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b", re.IGNORECASE)

_WORDS = {
    "zero": "0", "one": "1", "once": "1", "first": "1", "two": "2", "twice": "2", "second": "2", "three": "3", "third": "3",
    "four": "4", "five": "5", "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip


def numbers(prose: str) -> Counter[str]:
    """Multiset of the numbers as `whole` or `whole.decimals`, ASCII, ungrouped; dates and versions as their pieces.

    1,234.5 and 1.234,5 and ١٬٢٣٤٫٥ are the same number; 1,234 and 1.234 are taken for 1234 in both texts.
    """
    text = _ORDINAL_SAFE.sub("", western_digits(prose))
    found: Counter[str] = Counter()
    for match in TOKEN.finditer(text):
        found.update(canonical(match.group()))
    return found


def spelled(prose: str) -> Counter[str]:
    """Multiset of the small numbers that English text spells out."""
    return Counter(_WORDS[word] for word in re.findall(r"[a-z]+", prose.casefold()) if word in _WORDS)


def western_digits(text: str) -> str:
    """The text with the digits of every script as 0 to 9."""
    return "".join(str(unicodedata.decimal(each)) if unicodedata.category(each) == "Nd" else each for each in text)


def canonical(token: str) -> list[str]:
    """The one number that a token stands for, or the pieces of a date or a version."""
    groups = re.split(r"\D", token)
    marks = re.findall(r"\D", token)
    if not marks:
        return [_whole(token)]
    grouped = all(len(group) == 3 for group in groups[1:]) and len(groups[0]) <= 3 and groups[0] != "0"
    if grouped and len(set(marks)) == 1:
        return [_whole("".join(groups))]
    if (
        marks[-1] in ".,٫"
        and all(len(group) == 3 for group in groups[1:-1])
        and marks[-1] not in marks[:-1]
        and len(set(marks[:-1])) <= 1
    ):
        return [f"{_whole(''.join(groups[:-1]))}.{groups[-1]}"]
    return [_whole(group) for group in groups]


def _whole(digits: str) -> str:
    return digits.lstrip("0") or "0"
