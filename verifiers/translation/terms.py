"""Terms that a task wants translated in one way or not at all, found in whatever form the target's grammar gives them."""

import re
import unicodedata
from collections.abc import Iterable
from functools import lru_cache

from verifiers.text import visible
from verifiers.translation import languages
from verifiers.translation.segment import Finding, Segment

_WRITTEN_TOGETHER = languages.DENSE | {"th"}
"""Languages in whose text a term is found as it is: they do not separate words, or attach particles."""
_STEM_CHANGES = frozenset(
    ["bg", "cs", "el", "et", "fi", "fr", "hi", "hr", "hu", "is", "lt", "lv", "pl", "pt", "ro", "ru", "sk", "sl", "sr", "uk"]
)
_STEM = 0.6
"""Share of a word's letters, at least three, that its forms have in common in those languages; in others all but a last vowel."""
_ENDING = 5
"""Letters that an inflected word may have beyond its stem's own."""
_MOST_REPEATS = 2
"""Times that a term may stand in a response for each time in the source; a third is stuffing."""


def glossary(segment: Segment) -> Finding | None:
    """Share of the source's glossary terms that the response translates as wanted, outside of a list at its end."""
    terms = asked(segment)
    if not terms:
        return None
    wanted = [_pattern(each, segment.target_lang) for each in terms.values()]
    given = [_pattern(each, segment.source_lang) for each in terms]
    text = visible(segment.response)
    body, listed = _without_list(text, wanted)
    dumped = listed > 0 and listed > _without_list(visible(segment.source), given)[1]
    counts = [len(pattern.findall(body if dumped else text)) for pattern in wanted]
    most = [_MOST_REPEATS * len(pattern.findall(visible(segment.source))) for pattern in given]
    right = [0 < count <= limit for count, limit in zip(counts, most, strict=True)]
    wrong = [f"{term} as {terms[term]}" for term, good in zip(terms, right, strict=True) if not good]
    reason = f"not once and in its place: {', '.join(wrong[:4])}" if wrong else ""
    stuffed = dumped or any(count > limit for count, limit in zip(counts, most, strict=True))
    return Finding(
        sum(right) / len(right) * (0.5 if dumped else 1.0), reason or dumped * "terms in a list", stuffed * "glossary_dump"
    )


def keep(segment: Segment) -> Finding | None:
    """Share of the places of terms to keep at which they still stand, letter by letter but for an ending."""
    wanted = {term: segment.source.count(term) for term in segment.facts.keep if term in segment.source}
    if not wanted:
        return None
    found = {term: min(count, segment.response.count(term)) for term, count in wanted.items()}
    missing = [term for term, count in wanted.items() if found[term] < count]
    return Finding(sum(found.values()) / sum(wanted.values()), f"missing {', '.join(missing[:4])}" if missing else "")


def asked(segment: Segment) -> dict[str, str]:
    """The terms of the glossary that the source has."""
    return {
        term: wanted for term, wanted in segment.facts.glossary.items() if has_term(segment.source, term, segment.source_lang)
    }


def has_term(text: str, term: str, code: str) -> bool:
    """Whether a text of a language has a term in some form."""
    return _pattern(term, code).search(visible(text)) is not None


@lru_cache(10_000)
def _pattern(term: str, code: str) -> re.Pattern[str]:
    """A term in any case; each of its words with another ending, and as a part of a compound."""
    term = visible(term).strip()
    if languages.base(code) in _WRITTEN_TOGETHER:
        return re.compile(re.escape(term), re.IGNORECASE)
    words = [_inflected(word, code) for word in re.findall(r"\w+", term)] or [re.escape(term)]
    return re.compile(r"[\W_]{1,3}".join(words), re.IGNORECASE)


def _inflected(word: str, code: str) -> str:
    """A word's stem with other endings; a short word stands alone, a longer one may be part of a compound."""
    if languages.base(code) in _STEM_CHANGES:
        stem = word[: max(3, round(_STEM * len(word)))]
    else:
        stem = re.sub(r"(?<=\w{3})[aeoy]$", "", word)
    letters = "".join(_letter(each) for each in stem)
    if len(word) <= 3:
        return rf"(?<!\w){letters}\w{{0,3}}(?!\w)"
    own = len(word) - len(stem)
    return rf"{letters}\w{{{max(0, own - 3)},{own + _ENDING}}}(?!\w)"


def _letter(letter: str) -> str:
    """A letter with or without its marks: Haus and Häuser, kůň and koně."""
    plain = unicodedata.normalize("NFD", letter)[0]
    umlauts = {"a": "aäáâą", "o": "oöóôő", "u": "uüúůűū", "e": "eéěèê"}.get(plain.casefold(), "")
    return f"[{umlauts}{re.escape(letter)}]" if umlauts else re.escape(letter)


def _without_list(text: str, patterns: Iterable[re.Pattern[str]]) -> tuple[str, int]:
    """The text without the clauses at its end that have no words but terms, and how many those are; one clause is left."""
    clauses = re.split(r"(?<=[.!?。！？:：;；,，、(（\n])", text.rstrip())
    count = 0
    while len(clauses) > 1:
        rest = clauses[-1]
        for pattern in patterns:
            rest = pattern.sub("", rest)
        if re.search(r"\w", rest):
            break
        count += bool(re.search(r"\w", clauses.pop()))
    return "".join(clauses), count
