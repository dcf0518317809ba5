"""Rows of Arrow batches: parquet files and Hugging Face data sets."""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa

from tower_rl.data.corpus.readers import shapes
from tower_rl.data.corpus.readers.part import BadRow, Part, Record
from tower_rl.data.rows import Reject

BATCH_ROWS = 256
"""Rows that are Python objects at once."""


def read(part: Part[Any], batch: pa.RecordBatch | pa.Table, first: int, language: str) -> Iterator[Record | Reject]:
    """Records of a batch whose first row has the number `first`."""
    for number, row in enumerate(_python(batch), start=first):
        try:
            if isinstance(row, BadRow):
                raise row
            yield shapes.record(part, number, row, language)
        except BadRow as error:
            yield part.reject(number, error)


def _python(batch: pa.RecordBatch | pa.Table) -> list[dict[str, object] | BadRow]:
    # Arrow takes strings on trust: one that is no UTF-8 shows only here, and takes its batch with it.
    try:
        return batch.to_pylist()
    except UnicodeDecodeError as error:
        if batch.num_rows == 1:
            return [BadRow("read: invalid UTF-8", f"byte {error.start + 1} of a text is no UTF-8: {error.reason}")]
        return [row for place in range(batch.num_rows) for row in _python(batch.slice(place, 1))]
