"""Translation memories in TMX 1.4b (https://www.gala-global.org/tmx-14b)."""

from collections.abc import Iterator

from lxml import etree

from tower_rl.config.corpora import TmxCorpus
from tower_rl.data.corpus.readers import markup, places
from tower_rl.data.corpus.readers.part import BadRow, Part, Record, code
from tower_rl.data.corpus.readers.tags import configured
from tower_rl.data.rows import DataError, Reject

_ANY = "*all*"
_LANG = "{http://www.w3.org/XML/1998/namespace}lang"


def files(name: str, corpus: TmxCorpus) -> list[Part[TmxCorpus]]:
    """One part per file. Raises DataError."""
    wanted(name, corpus)
    return places.parts(name, corpus, corpus.path)


def read(part: Part[TmxCorpus]) -> Iterator[Record | Reject]:
    """Pairs of every unit; a unit is no neighbour of the next one, so that there are no documents.

    Raises DataError for broken XML, with line and column.
    """
    pairs, srclang, number = wanted(part.name, part.corpus), _ANY, 0
    for _, name, element in markup.elements(part, ("header", "tu")):
        if name == "header":
            srclang = element.get("srclang", _ANY)
            continue
        number += 1
        yield from _unit(part, number, element, pairs, element.get("srclang", srclang))


def wanted(name: str, corpus: TmxCorpus) -> list[tuple[str, str]]:
    """The configured pairs of languages, e.g. [("en", "de")]. Raises DataError for what is no pair."""
    pairs = [tuple(pair.split("-", 1)) for pair in corpus.pairs]
    if bad := [pair for pair in pairs if len(pair) != 2]:
        raise DataError(f"corpus {name!r}: {bad[0][0]!r} is no pair of languages; en-de is")
    return [(configured(name, first), configured(name, second)) for first, second in pairs]


def _unit(
    part: Part[TmxCorpus], number: int, unit: etree._Element, pairs: list[tuple[str, str]], srclang: str
) -> Iterator[Record | Reject]:
    segments: dict[str, str] = {}
    for variant in markup.children(unit, "tuv"):
        try:
            language, text = _segment(variant)
            if language in segments:
                raise BadRow("unused: second variant", f"the unit has another segment in {language}")
            segments[language] = text
        except BadRow as error:
            yield part.reject(variant.sourceline, error)
    try:
        made = _pairs(segments, pairs, srclang)
    except BadRow as error:
        yield part.reject(unit.sourceline, error)
        return
    for first, second in made:
        id_ = part.row_id(f"{number}/{first}-{second}", unit.get("tuid", ""))
        original, translation = segments[first], segments[second]
        yield Record(id_, "pair", f"{first}-{second}", original=original, translation=translation, position=number)


def _segment(variant: etree._Element) -> tuple[str, str]:
    tag = variant.get(_LANG) or variant.get("lang")
    if not tag:
        raise BadRow("read: missing field", "the tuv names no language (xml:lang)")
    language = code(tag)
    found = markup.children(variant, "seg")
    if not found:
        raise BadRow("read: missing field", f"the tuv of {language} has no seg")
    text = markup.plain(found[0])
    if not text.strip():
        raise BadRow("unused: empty", f"the segment of {language} is empty")
    return language, text


def _pairs(segments: dict[str, str], pairs: list[tuple[str, str]], srclang: str) -> list[tuple[str, str]]:
    """The pairs that a unit makes: the configured ones that it has, else its source language with each other one."""
    if pairs:
        made = [pair for pair in pairs if pair[0] in segments and pair[1] in segments]
    else:
        # *all*: any language may be the source. The first is as good as another, and the same every time.
        source = next(iter(segments), "") if srclang.lower() == _ANY else code(srclang)
        made = [(source, other) for other in segments if source in segments and other != source]
    if not made:
        raise BadRow("unused: no such pair", f"the unit has segments in {', '.join(segments) or 'no language'}")
    return made
