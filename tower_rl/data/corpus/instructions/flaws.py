"""SYNTHETIC errors in good translations. No machine translation is at hand here, so none of these errors was made by one.

They imitate classes of errors that are documented for machine translation and that can be made, and be labelled, without
knowing the language: placeholders and tags lost, doubled or torn apart, other numbers, parts left out, repeated or left
untranslated, another term than the glossary's. Errors of meaning, grammar and style are not among them, so a model that
learns from these alone does not learn to find those.

Labels follow MQM (themqm.org): categories and severities as in Freitag et al. 2021 (arXiv 2104.14478), with the classes
`number` and `markup` of their own, as localization teams count them.
"""

import random
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from tower_rl.data.corpus.instructions.marks import Mark, marks, masked
from tower_rl.data.corpus.instructions.pair import Pair
from verifiers.translation import languages

Category = Literal[
    "accuracy/omission", "accuracy/addition", "accuracy/mistranslation", "accuracy/untranslated", "number", "markup"
]
Severity = Literal["minor", "major", "critical"]


@dataclass(frozen=True, slots=True)
class Flaw:
    """A stretch of the translation that is replaced."""

    start: int
    end: int
    text: str
    category: Category
    severity: Severity
    span: str | None
    """What an annotator marks: `text` or a part of it, or words of the source that are missing; None where nobody knows which."""

    @property
    def in_source(self) -> bool:
        """Whether the span is of the source."""
        return not self.text


Maker = Callable[[Pair, random.Random], Flaw | None]

_BOUNDARY = re.compile(r"[.!?…।][\"'”’»)]*+\s++(?![a-zà-ÿа-яё])|[。！？][”』」）]*+\s*+|\s*+\n\s*+")
"""The end of a sentence or line. A small letter behind a full stop says that it only ended an abbreviation."""
_WORD = re.compile(r"[^\W\d_]{2,}")
_PHRASE = re.compile(r"[^\W\d_]{2,}(?: [^\W\d_]{2,}){0,2}")
_NUMBER = re.compile(r"(?<![\w.,])\d+(?![\w.,]\w|\w)")
_SPACELESS = frozenset(["ja", "zh"])
_SHORTEST, _SHORTEST_DENSE = 4, 8
"""Words of a translation with a flaw; characters in languages that say more in each."""
_CLAUSE, _CLAUSE_DENSE = 12, 5
"""Characters of a clause that is worth missing."""
_LONGEST_COPY = 8
"""Words of a segment that may be left untranslated as a whole."""


def lost_mark(pair: Pair, choice: random.Random) -> Flaw | None:
    """A placeholder or tag is missing."""
    mark = _shared_mark(pair, choice)
    if mark is None:
        return None
    before, after = pair.translation[: mark.start], pair.translation[mark.end :]
    start, end = mark.start, mark.end
    if after.startswith(" ") and before[-1:] in ("", " "):
        end += 1
    elif before.endswith(" ") and after[:1] in ("", *".,;:!?"):
        start -= 1
    return Flaw(start, end, "", "markup", _severity(mark), mark.text)


def torn_mark(pair: Pair, choice: random.Random) -> Flaw | None:
    """A space in a placeholder or tag, which then is none: `% (name)s`, `< b>`."""
    mark = _shared_mark(pair, choice)
    if mark is None:
        return None
    torn = f"{mark.text[0]} {mark.text[1:]}"
    return Flaw(mark.start, mark.end, torn, "markup", _severity(mark), torn)


def doubled_mark(pair: Pair, choice: random.Random) -> Flaw | None:
    """A placeholder or tag stands there twice."""
    mark = _shared_mark(pair, choice)
    if mark is None:
        return None
    doubled = f"{mark.text} {mark.text}"
    return Flaw(mark.start, mark.end, doubled, "markup", "major", doubled)


def wrong_number(pair: Pair, choice: random.Random) -> Flaw | None:
    """One digit of a number that source and translation share is another."""
    wanted = set(_NUMBER.findall(masked(pair.source)))
    found = [match for match in _NUMBER.finditer(masked(pair.translation)) if match.group() in wanted]
    if not found:
        return None
    match = choice.choice(found)
    digits = list(match.group())
    place = choice.randrange(len(digits))
    digits[place] = choice.choice([each for each in "123456789" if each != digits[place]])
    wrong = "".join(digits)
    return Flaw(match.start(), match.end(), wrong, "number", "major", wrong)


def repeated_words(pair: Pair, choice: random.Random) -> Flaw | None:
    """One to three words stand there twice. Not in languages that are written without spaces."""
    if languages.base(pair.target_lang) in _SPACELESS:
        return None
    found = list(_WORD.finditer(masked(pair.translation)))
    if len(found) < 2:
        return None
    match = _PHRASE.match(masked(pair.translation), choice.choice(found).start())
    if match is None:
        return None
    words = match.group().split(" ")
    phrase = " ".join(words[: choice.randint(1, len(words))])
    repeated = f"{phrase} {phrase}"
    return Flaw(match.start(), match.start() + len(phrase), repeated, "accuracy/addition", "minor", repeated)


def lost_segment(pair: Pair, choice: random.Random) -> Flaw | None:
    """A sentence or line is missing; source and translation have equally many, so that its source is known."""
    aligned = _aligned(pair)
    if len(aligned) < 2:
        return None
    place = choice.randrange(len(aligned))
    source, (start, end) = aligned[place]
    if not _WORD.search(masked(source)):
        return None
    if place == len(aligned) - 1:
        start = aligned[place - 1][1][1]
    else:
        end = aligned[place + 1][1][0]
    return Flaw(start, end, "", "accuracy/omission", "major", source)


def repeated_segment(pair: Pair, choice: random.Random) -> Flaw | None:
    """A sentence or line of several stands there twice."""
    segments = _segments(pair.translation)
    if len(segments) < 2:
        return None
    start, end = choice.choice(segments)
    gap = "" if languages.base(pair.target_lang) in _SPACELESS else " "
    repeated = f"{pair.translation[start:end]}{gap}{pair.translation[start:end]}"
    return Flaw(start, end, repeated, "accuracy/addition", "major", repeated)


def untranslated_segment(pair: Pair, choice: random.Random) -> Flaw | None:
    """A sentence or line, or the whole of a short text, is that of the source."""
    aligned = _aligned(pair)
    if not aligned or (len(aligned) == 1 and len(pair.source.split()) > _LONGEST_COPY):
        return None
    source, (start, end) = choice.choice(aligned)
    if source == pair.translation[start:end] or not _WORD.search(masked(source)):
        return None
    return Flaw(start, end, source, "accuracy/untranslated", "major", source)


def untranslated_term(pair: Pair, choice: random.Random) -> Flaw | None:
    """A term that the glossary translates is that of the source."""
    if not pair.terms:
        return None
    term = choice.choice(pair.terms)
    copied = _cased(term.source, term.translation)
    return Flaw(term.start, term.end, copied, "accuracy/untranslated", "major", copied)


def wrong_term(pair: Pair, choice: random.Random) -> Flaw | None:
    """A term is translated as another one of the glossary."""
    if not pair.terms or not pair.other_term:
        return None
    term = choice.choice(pair.terms)
    other = _cased(pair.other_term, term.translation)
    return Flaw(term.start, term.end, other, "accuracy/mistranslation", "major", other)


def cut_short(pair: Pair, choice: random.Random) -> Flaw | None:
    """The end is missing, a quarter to a half of the text; which words of the source that are, nobody knows."""
    text = masked(pair.translation)
    limits = range(len(text) // 2, len(text) * 3 // 4 + 1)
    if languages.base(pair.target_lang) in _SPACELESS:
        places = [place for place in limits if text[place - 1 : place + 1].isalpha() and len(text) >= 12]
    else:
        two_words = text.find(" ", text.find(" ") + 1)
        places = [place for place in limits if text[place] == " " and place > two_words > 0]
    if not places:
        return None
    return Flaw(choice.choice(places), len(text), "", "accuracy/omission", "critical", None)


def lost_clause(pair: Pair, choice: random.Random) -> Flaw | None:
    """A part between two commas, or before the first, is missing; which words of the source that are, nobody knows."""
    text = masked(pair.translation)
    commas = [match.end() for match in re.finditer(r", |[，、]", text)]
    shortest = _CLAUSE_DENSE if languages.base(pair.target_lang) in languages.DENSE else _CLAUSE
    parts = [(start, end) for start, end in pairwise([0, *commas]) if end - start >= shortest]
    if not parts:
        return None
    start, end = choice.choice(parts)
    return Flaw(start, end, "", "accuracy/omission", "major", None)


MAKERS: tuple[Maker, ...] = (
    lost_mark,
    torn_mark,
    doubled_mark,
    wrong_number,
    repeated_words,
    lost_segment,
    repeated_segment,
    untranslated_segment,
    untranslated_term,
    wrong_term,
    cut_short,
    lost_clause,
)
LOCATED: tuple[Maker, ...] = tuple(maker for maker in MAKERS if maker not in (cut_short, lost_clause))
"""Those whose span is known."""


def find_flaws(pair: Pair, makers: tuple[Maker, ...], most: int, choice: random.Random) -> list[Flaw]:
    """One to `most` flaws that do not touch each other, in their order; none in a few words, or where no maker finds a place."""
    if not _is_long(pair):
        return []
    wanted = choice.randint(1, most)
    found: list[Flaw] = []
    for maker in choice.sample(makers, len(makers)):
        flaw = maker(pair, choice)
        if flaw and all(flaw.end < other.start or other.end < flaw.start for other in found):
            found.append(flaw)
        if len(found) == wanted:
            break
    return sorted(found, key=lambda flaw: flaw.start)


def with_flaws(translation: str, flaws: list[Flaw]) -> str:
    """The translation with every flaw in its place."""
    for flaw in reversed(flaws):
        translation = translation[: flaw.start] + flaw.text + translation[flaw.end :]
    return translation


def _shared_mark(pair: Pair, choice: random.Random) -> Mark | None:
    """A mark of the translation that the source has, too, and each of them only once."""
    found = marks(pair.translation)
    source, translation = (Counter(mark.text for mark in each) for each in (marks(pair.source), found))
    once = [mark for mark in found if len(mark.text) > 1 and source[mark.text] == translation[mark.text] == 1]
    return choice.choice(once) if once else None


def _severity(mark: Mark) -> Severity:
    """A program may fail without its placeholder; without a tag a text only looks wrong."""
    return "major" if mark.text.startswith("<") else "critical"


def _segments(text: str) -> list[tuple[int, int]]:
    """Where sentences and lines start and end, without the space around them."""
    ends = [match.end() for match in _BOUNDARY.finditer(text)]
    parts = [(start, text[start:end]) for start, end in pairwise([0, *ends, len(text)])]
    starts = [(start + len(part) - len(part.lstrip()), part.strip()) for start, part in parts]
    return [(start, start + len(part)) for start, part in starts if part]


def _aligned(pair: Pair) -> list[tuple[str, tuple[int, int]]]:
    """Sentences or lines of the source, and where theirs are in the translation; none where their numbers differ."""
    source, translation = _segments(pair.source), _segments(pair.translation)
    if len(source) != len(translation):
        return []
    return [(pair.source[start:end], place) for (start, end), place in zip(source, translation, strict=True)]


def _cased(term: str, like: str) -> str:
    """The term with the first letter as large or small as another's, unless it is an abbreviation."""
    if term[1:] != term[1:].lower():
        return term
    return (term[0].upper() if like[0].isupper() else term[0].lower()) + term[1:]


def _is_long(pair: Pair) -> bool:
    """Whether there is enough text for an error to be found in it; of less, an error leaves nothing to correct."""
    dense = languages.base(pair.target_lang) in languages.DENSE
    return len(pair.translation) >= _SHORTEST_DENSE if dense else len(pair.translation.split()) >= _SHORTEST
