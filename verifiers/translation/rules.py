"""The rules of `translation_rules`: each is a pure check of a segment and the sentence that tells a model to follow it."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace

from verifiers.text import letters, visible
from verifiers.translation import dates, hygiene, languages, markup, quantities, register, shape, style, terms, verbatim
from verifiers.translation import language as detection
from verifiers.translation.numbers import numbers as numbers_in
from verifiers.translation.numbers import spelled
from verifiers.translation.segment import Finding, Segment


@dataclass(frozen=True, slots=True)
class Rule:
    """A check, what it weighs, and its instruction."""

    check: Callable[[Segment], Finding | None]
    """None when the rule says nothing about the segment."""
    weight: float
    """In the weighted mean of the rules that apply; 0 for one that is a gate alone."""
    met_from: float
    """The score from which the rule counts as met."""
    instruction: Callable[[Segment], str] = lambda segment: ""
    """A sentence for the prompt, "" when the source and the facts give no reason for one."""
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
    """The numbers of the source reappear, in the digits and separators of any locale. Dates have a rule of their own."""
    source, response = dates.without_dates(segment)
    wanted, found = numbers_in(source), numbers_in(response)
    if not wanted:
        return None
    found -= (found - wanted) & spelled(source)  # "one" may become 1
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
    first, second = (hygiene.whole_words(visible(text).casefold()) for text in (one, other))
    return first == second


def _where_it_applies(check: Callable[[Segment], Finding | None], sentence: Callable[[Segment], str]) -> Callable[[Segment], str]:
    """The sentence where the check has something to say about the source itself."""
    return lambda segment: sentence(segment) if check(replace(segment, response=segment.source)) else ""


def _about_placeholders(segment: Segment) -> str:
    return f"Keep the placeholders as they are: {' '.join(sorted(markup.placeholders(segment.source)))}."


def _about_urls(segment: Segment) -> str:
    return f"Keep the addresses as they are: {' '.join(markup.addresses(segment.source))}."


def _about_number_format(segment: Segment) -> str:
    mark = {".": "point", ",": "comma"}[quantities.decimal_mark(segment.target_lang)]
    return f"Write numbers as {languages.name(segment.target_lang)} does, with a decimal {mark}."


def _about_dates(segment: Segment) -> str:
    return f"Write dates and times as is usual in {languages.name(segment.target_lang)}."


def _about_quotes(segment: Segment) -> str:
    pair = style.QUOTES.get(languages.base(segment.target_lang), '""')[:2]
    return f"Keep what is quoted in quotation marks, {' '.join(pair)} or straight ones."


def _about_glossary(segment: Segment) -> str:
    pairs = ", ".join(f'"{term}" as "{wanted}"' for term, wanted in terms.asked(segment).items())
    return f"Translate {pairs}, inflected as needed."


def _about_keep(segment: Segment) -> str:
    return f"Do not translate: {', '.join(segment.facts.keep)}."


def _about_register(segment: Segment) -> str:
    return f"Use the {segment.facts.register} form of address." if segment.facts.register else ""


RULES: Mapping[str, Rule] = {
    "placeholders": Rule(placeholders, 1.0, 1.0, _where_it_applies(placeholders, _about_placeholders)),
    "tags": Rule(tags, 1.0, 1.0, _where_it_applies(tags, lambda segment: "Keep the markup tags.")),
    "urls": Rule(verbatim.urls, 1.0, 1.0, _where_it_applies(verbatim.urls, _about_urls)),
    "markdown": Rule(
        verbatim.markdown, 1.0, 1.0, _where_it_applies(verbatim.markdown, lambda segment: "Keep the Markdown formatting.")
    ),
    "numbers": Rule(numbers, 1.0, 1.0, _where_it_applies(numbers, lambda segment: "Keep all numbers.")),
    "number_format": Rule(quantities.number_format, 0.5, 1.0, _where_it_applies(quantities.number_format, _about_number_format)),
    "units": Rule(quantities.units, 0.5, 1.0, _where_it_applies(quantities.units, lambda segment: "Keep units and currencies.")),
    "dates": Rule(dates.dates, 1.0, 1.0, _where_it_applies(dates.dates, _about_dates)),
    "glossary": Rule(terms.glossary, 1.0, 1.0, _where_it_applies(terms.glossary, _about_glossary)),
    "keep": Rule(terms.keep, 1.0, 1.0, _where_it_applies(terms.keep, _about_keep)),
    "max_chars": Rule(
        style.max_chars,
        1.0,
        1.0,
        _where_it_applies(style.max_chars, lambda segment: f"Use at most {segment.facts.max_chars} characters."),
    ),
    "register": Rule(register.register, 1.0, 1.0, _about_register),
    "quotes": Rule(style.quotes, 0.5, 0.5, _where_it_applies(style.quotes, _about_quotes)),
    "capitals": Rule(style.capitals, 0.25, 1.0),
    "length": Rule(shape.length, 0.5, 1.0),
    "language": Rule(language, 1.0, 0.5, gate_floor=0.1),
    "untranslated": Rule(hygiene.untranslated, 0.0, 0.7, lambda segment: "Leave nothing untranslated.", gate_floor=0.3),
    "translation_only": Rule(
        shape.translation_only, 1.0, 1.0, lambda segment: "Reply with the translation only.", gate_floor=0.5
    ),
    "repetition": Rule(shape.repetition, 0.5, 0.7, gate_floor=0.1),
    "zero_width": Rule(hygiene.zero_width, 0.0, 1.0, gate_floor=0.5),
    "bidi": Rule(hygiene.bidi, 0.0, 1.0, gate_floor=0.5),
    "homoglyphs": Rule(hygiene.homoglyphs, 0.0, 1.0, gate_floor=0.5),
    "similarity": Rule(similarity, 5.0, 0.0),
}
"""A reference's chrF weighs about as much as all rules that a usual segment is subject to.

The gates: copying the source, which keeps every placeholder and number, must be worth less than a poor translation, and yet not
nothing, so that among wrong answers the better one is still told; a right translation with a preamble stays above a wrong one."""
FLAGS = (
    "empty", "far_too_long", "copied_source", "wrong_language", "mixed_language", "extra_text", "repeated_text",
    "glossary_dump", "zero_width", "bidi", "homoglyphs",
)  # fmt: skip
"""Every sign of reward hacking that a verdict may carry."""


def instruction(segment: Segment, names: Collection[str] = tuple(RULES)) -> str:
    """What to ask a model for, in English, without the source itself: the task, and what the named rules ask of this source.

    Raises KeyError for an unknown language.
    """
    task = f"Translate the following text from {languages.name(segment.source_lang)} into {languages.name(segment.target_lang)}."
    return " ".join(filter(None, [task, *(rule.instruction(segment) for name, rule in RULES.items() if name in names)]))
