"""JSON lines, plain or gzipped, local or remote."""

import json
from collections.abc import Iterator

from tower_rl.config.corpora import JsonlCorpus
from tower_rl.data.corpus.readers import lines, shapes
from tower_rl.data.corpus.readers.part import BadRow, Part, Record
from tower_rl.data.corpus.readers.tags import configured
from tower_rl.data.rows import Reject


def files(name: str, corpus: JsonlCorpus) -> list[Part[JsonlCorpus]]:
    """One part per PART_LINES lines of a local file, and per packed or remote file. Raises DataError."""
    configured(name, corpus.language)
    return lines.parts(name, corpus, corpus.path)


def read(part: Part[JsonlCorpus]) -> Iterator[Record | Reject]:
    """Rows of the part; empty lines are passed over. Raises DataError when the file cannot be read to its end."""
    language = configured(part.name, part.corpus.language)
    for number, line in lines.read(part.paths[0], part.starts[0], part.first, part.count):
        if line == "" or (isinstance(line, str) and line.isspace()):
            continue
        try:
            yield shapes.record(part, number, _parse(line), language)
        except BadRow as error:
            yield part.reject(number, error)


def _parse(line: str | BadRow) -> object:
    if isinstance(line, BadRow):
        raise line
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        raise BadRow("read: broken JSON", f"broken JSON: {error}") from None
