"""Small operations on tables of rows (RECORDS)."""

from collections.abc import Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import xxhash

from tower_rl.data.corpus.records import RECORDS


def active_pairs(table: pa.Table) -> pa.ChunkedArray:
    """[rows] whether a row is a pair that is in use."""
    return pc.and_(pc.equal(table["kind"], "pair"), pc.equal(table["dropped"], ""))


def replaced(table: pa.Table, columns: dict[str, Sequence[Any]]) -> pa.Table:
    """The table with the values of some columns of RECORDS in place of its own."""
    for name, values in columns.items():
        table = table.set_column(
            table.schema.get_field_index(name), RECORDS.field(name), pa.array(values, RECORDS.field(name).type)
        )
    return table


def reassembled(table: pa.Table, mask: pa.ChunkedArray, new: pa.Table) -> pa.Table:
    """The table with `new` in place of the rows that the mask has, in their places."""
    flags = mask.to_numpy()
    order = (~flags).argsort(kind="stable").argsort(kind="stable")  # rows of the mask come first in the concatenation
    return pa.concat_tables([new, table.filter(pc.invert(mask))]).take(pa.array(order))


BUCKET = "bucket"
"""Name of the column of with_bucket."""


def with_bucket(table: pa.Table, key: Sequence[str], buckets: int) -> pa.Table:
    """The table with a column BUCKET (int64, from 0 to `buckets` - 1) that is equal where the columns of `key` are equal.

    Groups are many and small, and grouping costs by the group, so that a bucket holds many of them.
    """
    values = zip(*(table[name].to_pylist() for name in key), strict=True)
    found = [xxhash.xxh3_64_intdigest("\0".join(value).encode()) % buckets for value in values]
    return table.append_column(pa.field(BUCKET, pa.int64()), pa.array(found, pa.int64()))


def without_bucket(table: pa.Table) -> pa.Table:
    """The table with the columns of RECORDS alone."""
    return table.select(RECORDS.names)
