"""The rules of `translation_rules`: each is a pure check of a segment and the sentence that tells a model to follow it."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from verifiers.text import letters, visible
from verifiers.translation import language as detection
from verifiers.translation import languages, markup, shape
from verifiers.translation.numbers import numbers as numbers_in
from verifiers.translation.segment import Finding, Segment


@dataclass(frozen=True, slots=True)
class Rule:
    """A check, what it weighs, and its instruction."""

    check: Callable[[Segment], Finding | None]
    """None when the rule says nothing about the segment."""
    weight: float
    """In the weighted mean of the rules that apply."""
    met_from: float
    """The score from which the rule counts as met."""
    instruction: Callable[[str], str] = lambda source: ""
    """A sentence for the prompt, "" when the source gives no reason for one."""
    gate_floor: float = 1.0
    """The mean is multiplied by gate_floor + (1 - gate_floor) * the rule's score; 1 for a rule that is no gate."""


def placeholders(segment: Segment) -> Finding | None:
    """The same placeholders as in the source, each as often; invented ones count against it."""
    wanted, found = markup.placeholders(segment.source), markup.placeholders(segment.response)
    if not wanted and not found:
        return None
    return Finding(markup.overlap(wanted, found), markup.difference(wanted, found))


def tags(segment: Segment) -> Finding | None:
    """The same HTML and XML tags as in the source, well nested when the source's are: wrong nesting halves the score."""
    wanted, found = markup.tags(segment.source), markup.tags(segment.response)
    if not wanted and not found:
        return None
    nested = markup.well_nested(segment.response) or not markup.well_nested(segment.source)
    score = markup.overlap(wanted, found) * (1.0 if nested else 0.5)
    return Finding(score, markup.difference(wanted, found) or ("" if nested else "wrong nesting"))


def numbers(segment: Segment) -> Finding | None:
    """The numbers of the source reappear, in the digits and separators of any locale."""
    wanted = numbers_in(segment.source_prose)
    if not wanted:
        return None
    found = numbers_in(segment.response_prose)
    return Finding(markup.overlap(wanted, found), markup.difference(wanted, found))


def language(segment: Segment) -> Finding | None:
    """How much of the text is in the target language; nothing when the source was copied."""
    if not letters(segment.source_prose) or (segment.reference is not None and _same_text(segment.reference, segment.source)):
        return None  # nothing to translate: a name, a formula
    if not letters(segment.response_prose):
        return Finding(0.0, "there is no text in the response")
    if _is_translation(segment) and _same_text(segment.response, segment.source):
        return Finding(0.0, "the source was copied", "copied_source")
    score = detection.score(segment.response_prose, segment.source_lang, segment.target_lang) or 0.0
    good = score >= RULES["language"].met_from
    return Finding(score, "" if good else f"not in {languages.name(segment.target_lang)}", "" if good else "wrong_language")


def similarity(segment: Segment) -> Finding | None:
    """chrF with the reference, where there is one: quality, which no rule sees. Of the prose: the rest has rules of its own."""
    wanted = None if segment.reference is None else visible(markup.prose(segment.reference))
    if wanted is None or not letters(wanted):
        return None
    from sacrebleu import sentence_chrf  # a tenth of a second of import

    return Finding(sentence_chrf(segment.response_prose, [wanted]).score / 100)


def _is_translation(segment: Segment) -> bool:
    return languages.base(segment.source_lang) != languages.base(segment.target_lang)


def _same_text(one: str, other: str) -> bool:
    """The same words but for case and what stands between them; "Firebird-database" is not "Firebird Database", but Danish."""
    first, second = (re.findall(r"\w+(?:[^\w\s]\w+)*", visible(text).casefold()) for text in (one, other))
    return first == second


def _about_placeholders(source: str) -> str:
    found = " ".join(sorted(markup.placeholders(source)))
    return f"Keep the placeholders as they are: {found}." if found else ""


def _about_tags(source: str) -> str:
    return "Keep the markup tags." if markup.tags(source) else ""


def _about_numbers(source: str) -> str:
    return "Keep all numbers." if numbers_in(markup.prose(source)) else ""


RULES: Mapping[str, Rule] = {
    "placeholders": Rule(placeholders, 1.0, 1.0, _about_placeholders),
    "tags": Rule(tags, 1.0, 1.0, _about_tags),
    "numbers": Rule(numbers, 1.0, 1.0, _about_numbers),
    "length": Rule(shape.length, 0.5, 1.0),
    "language": Rule(language, 1.0, 0.5, gate_floor=0.1),
    "translation_only": Rule(shape.translation_only, 1.0, 1.0, lambda source: "Reply with the translation only.", gate_floor=0.5),
    "repetition": Rule(shape.repetition, 0.5, 0.7, gate_floor=0.1),
    "similarity": Rule(similarity, 5.0, 0.0),
}
"""A reference's chrF weighs about as much as all rules that a usual segment is subject to.

The gates: copying the source, which keeps every placeholder and number, must be worth less than a poor translation, and yet not
nothing, so that among wrong answers the better one is still told; a right translation with a preamble stays above a wrong one."""


def instruction(source: str, source_lang: str, target_lang: str) -> str:
    """What to ask a model for, in English, without the source itself. Raises KeyError for an unknown language."""
    task = f"Translate the following text from {languages.name(source_lang)} into {languages.name(target_lang)}."
    return " ".join(filter(None, [task, *(rule.instruction(source) for rule in RULES.values())]))
