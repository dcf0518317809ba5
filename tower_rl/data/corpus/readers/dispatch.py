"""Every kind of corpus, read in parts as tables of RECORDS."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa

from tower_rl.config.corpora import AnyCorpus
from tower_rl.data.corpus.readers import aligned, gettext, huggingface, jsonl, parquet, places, text, tmx, xliff
from tower_rl.data.corpus.readers.part import Part, Record
from tower_rl.data.corpus.records import RECORDS
from tower_rl.data.rows import Reject

TABLE_CHARACTERS = 16_000_000
"""A table is closed at the row that fills it, so that rows of megabytes do not add up."""

_FORMATS: dict[str, Any] = {
    "jsonl": jsonl,
    "parquet": parquet,
    "huggingface": huggingface,
    "gettext": gettext,
    "tmx": tmx,
    "xliff": xliff,
    "text": text,
    "aligned": aligned,
}


def files(name: str, corpus: AnyCorpus) -> list[Part[Any]]:
    """The parts of a corpus, each small and picklable, in an order that is the same for the same files.

    Raises DataError when there are no files, or they are not what the configuration says.
    """
    return _FORMATS[corpus.kind].files(name, corpus)


def read(part: Part[Any]) -> Iterator[Record | Reject]:
    """Rows of a part one by one, good and bad in the order of the file; memory does not grow with the file.

    An id is unique, and stable as long as the row stays where it is in its file. The reason of a Reject is `read: CLASS` for bad
    input and `unused: CLASS` for what the format itself marks as not to be used. Empty lines are no rows.

    Raises DataError for a file that cannot be read to its end: how many rows are lost behind a break, nobody knows.
    """
    return _FORMATS[part.corpus.kind].read(part)


def tables(part: Part[Any], rows: int = 1000) -> Iterator[pa.Table]:
    """The same as tables in the schema RECORDS, of at most `rows` rows and about TABLE_CHARACTERS characters.

    A Reject is a row with its reason in `dropped`; its id is its position, as `FILE:LINE`.
    """
    kept: list[dict[str, Any]] = []
    size = 0
    for row in read(part):
        made = _rejected(part, row) if isinstance(row, Reject) else _good(part, row)
        kept.append(made)
        size += _characters(made)
        if len(kept) == rows or size >= TABLE_CHARACTERS:
            yield pa.Table.from_pylist(kept, schema=RECORDS)
            kept, size = [], 0
    if kept:
        yield pa.Table.from_pylist(kept, schema=RECORDS)


def digest(parts: Sequence[Part[Any]]) -> str:
    """What changes when the content of the files does, or their names or order: a SHA-256 in hexadecimal.

    Local files are read as a whole, in pieces. The configuration of the corpus is not in it. Raises DataError.
    """
    paths = dict.fromkeys((path, part.label) for part in parts for path in part.paths)
    sums = [f"{label}\0{places.identity(path)}" for path, label in paths]
    return hashlib.sha256("\0\0".join(sums).encode()).hexdigest()


def _good(part: Part[Any], record: Record) -> dict[str, Any]:
    return {
        "id": record.id,
        "corpus": part.name,
        "licence": record.licence or part.corpus.licence,
        "kind": record.kind,
        "language": record.language,
        "text": record.text,
        "original": record.original,
        "translation": record.translation,
        "messages": record.messages,
        "document": record.document,
        "position": record.position,
        "dropped": "",
        "detail": "",
    }


def _rejected(part: Part[Any], reject: Reject) -> dict[str, Any]:
    empty = Record(reject.place, kind="", language="")
    return {**_good(part, empty), "dropped": reject.reason, "detail": reject.detail}


def _characters(row: dict[str, Any]) -> int:
    single = len(row["text"]) + len(row["original"]) + len(row["translation"])
    return single + sum(len(message["content"]) for message in row["messages"])
