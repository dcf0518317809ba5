"""Quotation marks, capitals and the longest a text may be."""

import re

from verifiers.text import visible
from verifiers.translation import languages, markup
from verifiers.translation.segment import Finding, Segment

QUOTES = {
    "cs": "„“‚‘", "da": "”“„»«", "de": "„“»«‚‘›‹", "en": "“”‘’", "es": "«»“”", "fi": "”’»", "fr": "«»“”‹›", "hi": "“”‘’",
    "hu": "„”»«", "is": "„“‚‘", "it": "«»“”", "ja": "「」『』“”", "ko": "“”‘’「」『』", "nb": "«»“”", "nl": "“”„‘’", "nn": "«»“”",
    "no": "«»“”", "pl": "„”«»", "pt": "«»“”", "ro": "„”«»", "ru": "«»„“", "sv": "”’»«", "uk": "«»„“”", "zh": "“”‘’「」『』《》",
}  # fmt: skip
"""Quotation marks of each language, the usual pair first; straight ones are right everywhere."""
_DOUBLE = re.compile("[\"“”„‟«»「」『』《》]|''")
_SINGLE = re.compile(r"(?<![A-Za-zÀ-ž])['‘‚‹›](?=\S)[^'‘’‚‹›\n]*['’‘›‹](?![A-Za-zÀ-ž])")
_CASED = ("LATIN", "CYRILLIC", "GREEK")
_SHORT = 3
"""Words up to which a text is a label, whose capitals are a matter of taste."""


def quotes(segment: Segment) -> Finding | None:
    """As many quotation marks as in the source, and those of the target's language: with others it is three quarters right."""
    source, response = (markup.without_tags(text) for text in (segment.source, segment.response))
    wanted = _marks(source)
    if not wanted:
        return None
    found = _marks(response)
    if not found:
        return Finding(0.0, "no quotation marks")
    usual = QUOTES.get(languages.base(segment.target_lang))
    score = min(wanted, found) / max(wanted, found)
    strange = sorted(set(re.findall("[“”„‟«»「」『』《》]", response)) - set(usual or response))
    reasons = [
        f"{found:g} quotation marks for {wanted:g}" * (wanted != found),
        f"marks of another language: {' '.join(strange)}" * bool(strange),
    ]
    return Finding(score * (0.75 if strange else 1.0), ", ".join(filter(None, reasons)))


def capitals(segment: Segment) -> Finding | None:
    """A sentence begins with a capital when the source does, and no text shouts that should not."""
    if not set(languages.scripts(segment.target_lang)) & set(_CASED):
        return None
    if _shouts(segment.response_prose) and not _shouts(segment.source_prose):
        return Finding(0.0, "all in capitals")
    source, response = (visible(markup.without_tags(text)).strip() for text in (segment.source, segment.response))
    if len(source.split()) <= _SHORT or not source[:1].isupper() or not response[:1].isalpha():
        return None
    first = re.match(r"\w+", response)
    small = response[0].islower() and not (first and re.search(r"[A-Z\d_]", first.group()))
    return Finding(0.5, "begins with a small letter") if small else Finding(1.0)


def max_chars(segment: Segment) -> Finding | None:
    """No more characters than asked for; beyond, it decays with the square of the ratio."""
    limit = segment.facts.max_chars
    if limit is None:
        return None
    count = len(visible(segment.response))
    return Finding(1.0) if count <= limit else Finding((limit / count) ** 2, f"{count} characters, not {limit}")


def _marks(text: str) -> float:
    """Pairs of quotation marks."""
    return len(_DOUBLE.findall(text)) / 2 + len(_SINGLE.findall(text))


def _shouts(text: str) -> bool:
    words = re.findall(r"[^\W\d_]{2,}", text)
    return len(words) >= _SHORT and all(word.isupper() for word in words)
