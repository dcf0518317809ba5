"""Signs of a text made for a checker instead of a reader: characters that nobody sees, look-alike letters, untranslated rest."""

import re
from collections.abc import Iterator

from verifiers.translation import languages
from verifiers.translation.markup import prose
from verifiers.translation.segment import Finding, Segment

_ZERO_WIDTH = re.compile("[\u00ad\u180e\u200b-\u200d\u2060-\u2064\ufeff]")
_BIDI = re.compile("[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_JOINING = frozenset(["ar", "fa", "he", "hi", "th"])
"""Languages that need joiners and marks of direction in plain text."""
_LOOK_ALIKES = {
    "CYRILLIC": frozenset("авекмнорстухіјѕԁһӏАВЕКМНОРСТУХІЈЅԚԜ"),
    "GREEK": frozenset("αικνορτυχΑΒΕΖΗΙΚΜΝΟΡΤΥΧ"),
    "LATIN": frozenset("aceiopsxyjhdlktmABCEHIJKMOPSTXYZ"),
}
LEAST_RUN = 3
"""Words of the source in a row that, found in the response, were left untranslated rather than are a name or a loan."""


def zero_width(segment: Segment) -> Finding:
    """No more characters without width than the source has; joiners belong to some scripts."""
    return _no_more(segment, _ZERO_WIDTH, "zero_width")


def bidi(segment: Segment) -> Finding:
    """No more marks of writing direction than the source has, but in languages that are written from the right."""
    return _no_more(segment, _BIDI, "bidi")


def homoglyphs(segment: Segment) -> Finding:
    """Share of the words without letters of another script that look like those of their own; words of the source are right."""
    known = set(re.findall(r"[^\W\d_]+", segment.source))
    words = [word for word in re.findall(r"[^\W\d_]+", prose(segment.response)) if word not in known]
    false = [word for word in words if _disguised(word, languages.scripts(segment.target_lang))]
    if not false:
        return Finding(1.0)
    return Finding(1 - len(false) / len(words), f"look-alike letters in {' '.join(false[:4])}", "homoglyphs")


def untranslated(segment: Segment) -> Finding | None:
    """Share of the source's words that do not stand as they are, in a row of three and more, in the response.

    Names do not count: words that begin with a capital within the source, terms to keep, and what the reference keeps as well.
    """
    if languages.base(segment.source_lang) == languages.base(segment.target_lang):
        return None
    meant, said = whole_words(segment.source_prose), whole_words(segment.response_prose.casefold())
    kept = {word.casefold() for word in whole_words(" ".join([*segment.facts.keep, prose(segment.reference or "")]))}
    left = {
        position
        for start, end in _runs([word.casefold() for word in meant], said)
        for position in range(start, end)
        if sum(word.islower() and word not in kept for word in meant[start:end]) >= LEAST_RUN - 1
    }
    if not left:
        return Finding(1.0)
    words = " ".join(meant[position] for position in sorted(left)[:6])
    return Finding(1 - len(left) / len(meant), f"left as it was: {words}", "mixed_language")


def whole_words(text: str) -> list[str]:
    """Words; a path or a compound with hyphens is one."""
    return re.findall(r"\w+(?:[^\w\s]\w+)*", text)


def _no_more(segment: Segment, signs: re.Pattern[str], flag: str) -> Finding:
    if languages.base(segment.target_lang) in _JOINING:
        return Finding(1.0)
    extra = len(signs.findall(segment.response)) - len(signs.findall(segment.source))
    return Finding(1.0) if extra <= 0 else Finding(0.0, f"{extra} characters too much", flag)


def _disguised(word: str, scripts: tuple[str, ...]) -> bool:
    """Whether letters of one script, each like one of another, stand among letters of that one or of the language's."""
    of = {script: [letter for letter in word if languages.script_of(letter) == script] for script in _LOOK_ALIKES}
    present = [script for script, letters in of.items() if letters]
    own = next((script for script in scripts if script in of), None)
    if len(present) == 1:
        return own == "LATIN" and present[0] != own and set(word) <= _LOOK_ALIKES[present[0]]
    return any(0 < len(of[script]) <= len(word) / 2 and set(of[script]) <= _LOOK_ALIKES[script] for script in present)


def _runs(meant: list[str], said: list[str]) -> Iterator[tuple[int, int]]:
    """Where rows of at least LEAST_RUN words of `meant` begin and end that also stand in `said`."""
    rows = {tuple(said[index : index + LEAST_RUN]) for index in range(len(said) - LEAST_RUN + 1)}
    for start in range(len(meant) - LEAST_RUN + 1):
        if tuple(meant[start : start + LEAST_RUN]) in rows:
            yield start, start + LEAST_RUN
