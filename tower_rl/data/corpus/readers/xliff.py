"""XLIFF 1.2 and 2.0 (https://docs.oasis-open.org/xliff/): the translated units of localization teams.

A segment is used when its state says that it is translated. Many tools write no state at all; then its having a target counts,
unless `approved` says no. (By the letter of 2.0 a segment without a state is initial, but then it has no reason for a target.)
"""

from collections.abc import Iterator, Mapping
from itertools import chain

from lxml import etree

from tower_rl.config.corpora import XliffCorpus
from tower_rl.data.corpus.readers import markup, places
from tower_rl.data.corpus.readers.part import BadRow, Part, Record, code, filled
from tower_rl.data.rows import Reject

_DONE = ("translated", "signed-off", "reviewed", "final")
_TAGS = ("xliff", "file", "header", "skeleton", "group", "trans-unit", "unit")


def files(name: str, corpus: XliffCorpus) -> list[Part[XliffCorpus]]:
    """One part per file. Raises DataError."""
    return places.parts(name, corpus, corpus.path)


def read(part: Part[XliffCorpus]) -> Iterator[Record | Reject]:
    """Pairs of the translated segments; the segments of one `file` are one document.

    Raises DataError for broken XML, with line and column.
    """
    file: dict[str, str] = {}
    number, document = 0, ""
    for event, name, element in markup.elements(part, _TAGS, ("start", "end")):
        if event == "start" and name in ("xliff", "file"):
            file = {**file, **element.attrib}
            document = f"{part.name}/{part.label}/{file.get('original') or file.get('id', '')}"
        elif event == "end" and name in ("trans-unit", "unit"):
            for segment in [element] if name == "trans-unit" else markup.children(element, "segment"):
                number += 1
                try:
                    language, original, translation = _languages(file), *_texts(segment)
                except BadRow as error:
                    yield part.reject(segment.sourceline, error)
                    continue
                id_ = part.row_id(number, element.get("id", ""))
                yield Record(
                    id_, "pair", language, original=original, translation=translation, document=document, position=number
                )


def _languages(file: Mapping[str, str]) -> str:
    """The pair in the attributes of `xliff` and `file`. Raises BadRow."""
    tags = []
    for old, new in (("source-language", "srcLang"), ("target-language", "trgLang")):
        if not (tag := file.get(old) or file.get(new)):
            raise BadRow("read: missing field", f"the file names no {old} (2.0: {new})")
        tags.append(tag)
    return f"{code(tags[0])}-{code(tags[1])}"


def _texts(segment: etree._Element) -> tuple[str, str]:
    """Original and translation. Raises BadRow for a segment that is not (yet) translated, or has no source."""
    if next((mark for element in chain([segment], segment.iterancestors()) if (mark := element.get("translate"))), "yes") == "no":
        raise BadRow("unused: not for translation", "it is marked as not for translation")
    sources, targets = markup.children(segment, "source"), markup.children(segment, "target")
    if not sources:
        raise BadRow("read: missing field", "there is no source")
    translation = markup.plain(targets[0]) if targets else ""
    if not translation.strip():
        raise BadRow("unused: untranslated", "there is no translation")
    state = segment.get("state") or targets[0].get("state")
    if state and state not in _DONE:
        raise BadRow("unused: not translated yet", f"its state is {state}")
    if not state and segment.get("approved") == "no":
        raise BadRow("unused: not translated yet", "it is not approved")
    return filled(markup.plain(sources[0]), "source"), translation
