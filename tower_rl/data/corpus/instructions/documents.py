"""Neighbouring segments of a document joined into longer pairs.

    waiting = keyed(table, buckets)                      # pairs of documents, with a column BUCKET
    others = not_keyed(table)                            # all the rest, which is not joined
    joined = join(rows of one or more buckets, ...)      # whole documents in, RECORDS out

A document's rows share a bucket. So with Ray Data: `map_batches(keyed)`, `groupby(BUCKET)`, `map_groups(join)`, and the union
with `map_batches(not_keyed)`; all with batch_format="pyarrow". `join(keyed(table, 1), ...)` does it for a table in memory.
"""

from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tower_rl.data.corpus.instructions.choice import chooser
from tower_rl.data.corpus.instructions.tables import active_pairs, with_bucket, without_bucket
from tower_rl.data.corpus.records import RECORDS

_KEY = ("corpus", "document", "language")


def keyed(table: pa.Table, buckets: int) -> pa.Table:
    """Pairs in use that belong to a document (RECORDS), with a column BUCKET from 0 to `buckets` - 1."""
    return with_bucket(table.filter(_of_documents(table)), _KEY, buckets)


def not_keyed(table: pa.Table) -> pa.Table:
    """The other rows (RECORDS)."""
    return table.filter(pc.invert(_of_documents(table)))


def join(table: pa.Table, most: int, seed: int) -> pa.Table:
    """Runs of one to `most` segments as one pair each (RECORDS), segments on lines of their own; document by document, in order.

    A run never leaves its document or language pair, and nothing is joined across a position that is missing or stands twice.
    How long a run is depends on its first row's id and the seed. A joined pair has the id `FIRST..LASTPOSITION`.

    Args:
        table: whole documents, as `keyed` leaves them.
        most: segments of a run, at most.
    """
    order = [(name, "ascending") for name in (*_KEY, "position", "id")]
    rows = without_bucket(table).sort_by(order).to_pylist()
    return pa.Table.from_pylist([_one(run) for run in _runs(rows, most, seed)], RECORDS)


def _of_documents(table: pa.Table) -> pa.ChunkedArray:
    return pc.and_(active_pairs(table), pc.not_equal(table["document"], ""))


def _runs(rows: list[dict[str, Any]], most: int, seed: int) -> Iterator[list[dict[str, Any]]]:
    run: list[dict[str, Any]] = []
    length = 0
    for row in rows:
        if run and (len(run) == length or not _follows(run[-1], row)):
            yield run
            run = []
        if not run:
            length = chooser(seed, "document", row["id"]).randint(1, most)
        run.append(row)
    if run:
        yield run


def _follows(before: dict[str, Any], row: dict[str, Any]) -> bool:
    return all(before[name] == row[name] for name in _KEY) and bool(row["position"] == before["position"] + 1)


def _one(run: list[dict[str, Any]]) -> dict[str, Any]:
    if len(run) == 1:
        return run[0]
    return run[0] | {
        "id": f"{run[0]['id']}..{run[-1]['position']}",
        "original": "\n".join(row["original"] for row in run),
        "translation": "\n".join(row["translation"] for row in run),
    }
