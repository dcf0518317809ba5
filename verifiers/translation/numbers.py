"""Numbers of a source that must reappear in its translation, in whatever digits and separators the locale has."""

import re
import unicodedata
from collections import Counter

_SPACES = "\u00a0\u202f\u2009 "
_NUMBER = re.compile(rf"\d+(?:[.,٫٬'’{_SPACES}]\d+)*")
_ORDINAL_SAFE = re.compile(r"(?<=\d)(?:st|nd|rd|th)\b", re.IGNORECASE)


def numbers(prose: str) -> Counter[str]:
    """Multiset of the numbers as `whole` or `whole.decimals`, ASCII, ungrouped; dates and versions as their pieces.

    1,234.5 and 1.234,5 and ١٬٢٣٤٫٥ are the same number; 1,234 and 1.234 are taken for 1234 in both texts.
    """
    text = "".join(str(unicodedata.decimal(each)) if unicodedata.category(each) == "Nd" else each for each in prose)
    text = _ORDINAL_SAFE.sub("", text)
    found: Counter[str] = Counter()
    for match in _NUMBER.finditer(text):
        found.update(_canonical(match.group()))
    return found


def _canonical(token: str) -> list[str]:
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
