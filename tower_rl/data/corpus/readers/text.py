"""Plain text: a document is a line, the lines up to an empty one, or a file."""

from collections.abc import Iterable, Iterator
from itertools import groupby

from tower_rl.config.corpora import TextCorpus
from tower_rl.data.corpus.readers import lines, places
from tower_rl.data.corpus.readers.part import BadRow, Part, Record
from tower_rl.data.corpus.readers.tags import configured
from tower_rl.data.rows import Reject

Lines = Iterable[tuple[int, str | BadRow]]


def files(name: str, corpus: TextCorpus) -> list[Part[TextCorpus]]:
    """One part per file; one per PART_LINES lines of a local file whose lines are documents. Raises DataError."""
    configured(name, corpus.language)
    if corpus.document == "line":
        return lines.parts(name, corpus, corpus.path)
    return places.parts(name, corpus, corpus.path)


def read(part: Part[TextCorpus]) -> Iterator[Record | Reject]:
    """A record for each document; its place is its first line. Raises DataError when the file cannot be read to its end.

    A document with a line that is no text is a bad row: a document with a hole is not that document.
    """
    language = configured(part.name, part.corpus.language)
    numbered = lines.read(part.paths[0], part.starts[0], part.first, part.count)
    for group in _DOCUMENTS[part.corpus.document](numbered):
        number, text = _join(group)
        if isinstance(text, BadRow):
            yield part.reject(number, text)
        else:
            yield Record(part.row_id(number), "text", language, text=text, position=number)


def _lines(numbered: Lines) -> Iterator[Lines]:
    return ([line] for line in numbered if not _blank(line))


def _blocks(numbered: Lines) -> Iterator[Lines]:
    return (group for blank, group in groupby(numbered, _blank) if not blank)


def _file(numbered: Lines) -> Iterator[Lines]:
    return iter([numbered])


_DOCUMENTS = {"line": _lines, "block": _blocks, "file": _file}


def _blank(line: tuple[int, str | BadRow]) -> bool:
    return isinstance(line[1], str) and not line[1].strip()


def _join(group: Lines) -> tuple[int, str | BadRow]:
    """Number of the first line, and the text; or number of the first bad line, and what is wrong. Reads the group to its end."""
    kept: list[str] = []
    first, size, bad = 1, 0, None
    for number, line in group:
        if bad is not None:
            continue
        if isinstance(line, BadRow):
            bad = number, line
            continue
        first = first if kept else number
        kept.append(line)
        size += len(line) + 1
        if size > lines.LINE_BYTES:
            bad = first, BadRow("read: too long document", f"the document has more than {lines.LINE_BYTES:,} characters")
            kept = []
    if bad is not None:
        return bad
    text = "\n".join(kept).strip("\n")
    return first, text if text.strip() else BadRow("read: empty", "the document is empty")
