"""Parquet files, local or remote."""

from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
from pyarrow import parquet

from tower_rl.config.corpora import ParquetCorpus
from tower_rl.data.corpus.readers import places, rows, shapes
from tower_rl.data.corpus.readers.part import Part, Record
from tower_rl.data.corpus.readers.tags import configured
from tower_rl.data.rows import DataError, Reject

_BUFFER = 1 << 20


def files(name: str, corpus: ParquetCorpus) -> list[Part[ParquetCorpus]]:
    """One part per row group. Raises DataError, also for a file that is no parquet, or has none of the fields of a row."""
    configured(name, corpus.language)
    found = places.find(f"corpus {name!r}", corpus.path)
    return [part for path, label in found.items() for part in _parts_of_file(name, corpus, path, label)]


def read(part: Part[ParquetCorpus]) -> Iterator[Record | Reject]:
    """Rows of the row group, batch by batch; columns that no shape has are not read. Raises DataError."""
    language, number = configured(part.name, part.corpus.language), part.first
    with _opened(part.paths[0]) as file:
        batches = file.iter_batches(rows.BATCH_ROWS, row_groups=list(part.starts), columns=_columns(file))
        for batch in batches:
            yield from rows.read(part, batch, number, language)
            number += batch.num_rows


def _parts_of_file(name: str, corpus: ParquetCorpus, path: str, label: str) -> list[Part[ParquetCorpus]]:
    with _opened(path) as file:
        if not _columns(file):
            raise DataError(f"corpus {name!r}: {path} has none of the columns {', '.join(shapes.FIELDS)}")
        sizes = [file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups)]
    return [Part(name, corpus, (path,), label, (group,), 1 + sum(sizes[:group]), size) for group, size in enumerate(sizes)]


def _columns(file: parquet.ParquetFile) -> list[str]:
    return [field for field in shapes.FIELDS if field in file.schema_arrow.names]


@contextmanager
def _opened(path: str) -> Iterator[parquet.ParquetFile]:
    with places.opened(path) as stream:
        try:
            # With a buffer and no reading ahead, a column of a large row group is not held as a whole.
            yield parquet.ParquetFile(stream, pre_buffer=False, buffer_size=_BUFFER)
        except pa.ArrowException as error:
            raise DataError(f"{path} cannot be read as parquet: {error}") from error
