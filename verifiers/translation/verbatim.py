"""Addresses and Markdown, which a translation carries over."""

import re
from collections import Counter

from verifiers.translation import languages, markup
from verifiers.translation.segment import Finding, Segment

_MARKDOWN = re.compile(
    r"`\s?(?P<code>[^`\n]+?)\s?`|(?P<bold>\*\*(?=\S)[^*\n]+\*\*)|(?P<link>\[[^\[\]\n]*\]\([^()\s]*\))"
    r"|^(?P<heading>#{1,6})\s|^[ \t]*(?P<item>[-*+]|\d+[.)])\s",
    re.MULTILINE,
)


def urls(segment: Segment) -> Finding | None:
    """The same addresses as in the source; a label of the source's language may become the target's (/en/ and /de/)."""
    codes = {_code(code) for code in (segment.source_lang, segment.target_lang, languages.base(segment.target_lang))}
    wanted, found = (_addresses(text, codes) for text in (segment.source, segment.response))
    if not wanted and not found:
        return None
    return Finding(markup.overlap(wanted, found), markup.difference(wanted, found))


def markdown(segment: Segment) -> Finding | None:
    """The same code spans and as many bold words, links, headings and list items as in a source that has some."""
    wanted, found = markdown_in(segment.source), markdown_in(segment.response)
    if not wanted:
        return None
    return Finding(markup.overlap(wanted, found), markup.difference(wanted, found))


def markdown_in(text: str) -> Counter[str]:
    """Multiset of the marks: code as it is, headings by level, the others by kind."""
    marks: Counter[str] = Counter()
    for match in _MARKDOWN.finditer(text):
        if "\n" not in text and match.lastgroup in ("heading", "item"):
            continue  # "# of items", "- none -"
        kind, found = match.lastgroup or "", match.group(match.lastgroup or 0)
        marks[found if kind in ("code", "heading") else kind] += 1
    return marks


def _addresses(text: str, codes: set[str]) -> Counter[str]:
    """Multiset of the addresses without what ends a sentence, the languages' labels replaced."""
    return Counter(
        re.sub(r"[A-Za-z]+(?:[-_][A-Za-z]+)?", lambda label: "*" if _code(label.group()) in codes else label.group(), address)
        for address in markup.addresses(text)
    )


def _code(code: str) -> str:
    return code.casefold().replace("-", "_")
