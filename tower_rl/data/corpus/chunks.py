"""The stations of a preparation on disk. A chunk is a table of rows that were read one after the other; its name is the place of
its first row, so names sort as the corpora do. What one call writes no other call writes, so calls may run anywhere, in any
order, and again.

    clean    chunk of rows -> chunks/, rejects/; keys for comparing -> exact/, near/, signatures/
    compare  keys in a range, of all chunks -> exact-lost/, near-lost/
    finish   chunk, and what it lost -> shards/

Where rows are needed together, `finish` gives way to the stations of tower_rl.data.corpus.groups.
"""

import json
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tower_rl.config.corpora import Cleaning
from tower_rl.data.corpus import tally
from tower_rl.data.corpus.cleaning import duplicates
from tower_rl.data.corpus.cleaning.duplicates import KEYS, LOSERS, Keys, Signatures, place_name
from tower_rl.data.corpus.cleaning.shingles import Hashes
from tower_rl.data.corpus.cleaning.steps import after_duplicates, before_duplicates
from tower_rl.data.corpus.cleaning.table import Step
from tower_rl.data.corpus.instructions.tables import active_pairs
from tower_rl.data.rows import SHOWN

FOLDERS = (
    *("chunks", "rejects", "exact", "near", "signatures", "exact-lost", "near-lost", "shards"),
    *("settled", "to-pivot", "to-join", "terms"),  # of tower_rl.data.corpus.groups
)
EVALUATION = "evaluation.npy"
"""Hashes of the evaluation texts."""
ROWS = 40
"""Bits of a place that count the rows of a part."""
_ROW_BYTES = 200
"""Of a row in memory, beside its texts."""

Summary = dict[str, Any]
"""JSON-like, small whatever the number of rows: `counts`, and what the station's function says."""


def places(part: int, row: int, rows: int) -> Hashes:
    """[rows] places of a part's rows from this one on."""
    return np.uint64(part << ROWS) + np.arange(row, row + rows, dtype=np.uint64)


def clean(work: Path, cleaning: Cleaning, table: pa.Table) -> Summary:
    """Run the steps that look at each row by itself, and write what the other stations need.

    Args:
        work: folder of the preparation, with FOLDERS.
        cleaning: the configuration's.
        table: RECORDS and a column `place`, rising.

    Returns:
        `name` of the chunk, `counts`, `bad` rows by corpus, `shown` (lines about the first of them, by corpus), the numbers
        of `exact` and `near` keys, and about how many bytes its `pairs` take.
    """
    where = table["place"].to_numpy()
    name = place_name(int(where[0]))
    counts = tally.count(table, "read")
    bad, shown = _write_rejects(work / "rejects" / f"{name}.jsonl", table)
    for step in before_duplicates(cleaning):
        table = step(table)
    pq.write_table(table, work / "chunks" / f"{name}.parquet", compression="zstd")
    keys = {"exact": np.empty(0, KEYS), "near": np.empty(0, KEYS)}
    if cleaning.exact_duplicates:
        keys["exact"] = duplicates.exact_keys(table, where)
    if cleaning.near_duplicates:
        rows, found = duplicates.signatures(table)
        keys["near"] = duplicates.near_keys(found, where[rows], cleaning.near_duplicates)
        np.save(work / "signatures" / f"{name}.npy", found)
        np.save(work / "signatures" / f"{name}.places.npy", where[rows])
    for kind, values in keys.items():
        _save(work / kind / f"{name}.npy", values)
    said = {"name": name, "counts": flat(counts), "bad": bad, "shown": shown, "pairs": _pair_bytes(table)}
    return said | {kind: len(values) for kind, values in keys.items()}


def compare(work: Path, kind: str, threshold: float, bucket: int, buckets: int) -> Summary:
    """Find the rows that are not the first of their kind, by the keys in one of equal ranges of all keys.

    Args:
        work: folder of the preparation.
        kind: exact or near.
        threshold: similarity from which near rows are alike.
        bucket: which range.
        buckets: how many there are.
    """
    low, high = (min(2**64 * edge // buckets, 2**64 - 1) for edge in (bucket, bucket + 1))
    keys = _between(work / kind, KEYS, low, high if bucket + 1 < buckets else None)
    losers = duplicates.not_first(keys) if kind == "exact" else duplicates.near_losers(keys, _Signatures(work), threshold)
    _save(work / f"{kind}-lost" / f"{bucket:08d}.npy", duplicates.first_only(losers))
    return {"counts": []}


def finish(work: Path, cleaning: Cleaning, make: Sequence[Step], name: str) -> Summary:
    """`cleaned` and `shard` in one, with the counts and samples of both."""
    table, counts, samples = cleaned(work, cleaning, name)
    made = shard(work, cleaning.samples, make, name, table)
    return made | {
        "counts": flat(counts + counts_of(made)),
        "samples": tally.fewest(samples + made["samples"], cleaning.samples),
    }


def cleaned(work: Path, cleaning: Cleaning, name: str) -> tuple[pa.Table, tally.Counts, list[dict[str, Any]]]:
    """Drop duplicates and run the rest of the steps: the rows in use (RECORDS); counts and samples of the dropped."""
    table = pq.read_table(work / "chunks" / f"{name}.parquet")
    where = table["place"].to_numpy()
    table = table.drop_columns(["place"])
    for kind in ("exact", "near"):
        losers = _between(work / f"{kind}-lost", LOSERS, int(where[0]), int(where[-1]) + 1)
        table = duplicates.drop_losers(table, where, duplicates.first_only(losers), f"duplicates: {kind}")
    for step in after_duplicates(cleaning, work / EVALUATION):
        table = step(table)
    counts = tally.count_dropped(table) + tally.count_notes(table)
    return table.filter(pc.equal(table["dropped"], "")), counts, tally.samples(table, cleaning.samples)


def shard(work: Path, most: int, make: Sequence[Step], name: str, table: pa.Table) -> Summary:
    """Run the functions that make training rows, and write the rows in use.

    Returns:
        `counts`, at most `most` `samples` of the dropped rows for each corpus and reason, and in `shards` the rows of this one.
    """
    for step in make:
        table = step(table)
    kept = table.filter(pc.equal(table["dropped"], ""))
    pq.write_table(kept, work / "shards" / f"{name}.parquet", compression="zstd")
    return {
        "counts": flat(tally.count_dropped(table) + tally.count(kept, "kept")),
        "samples": tally.samples(table, most),
        "shards": {name: kept.num_rows},
    }


def counts_of(summary: Summary) -> tally.Counts:
    """The counts of a summary."""
    return tally.Counts({(corpus, language, what, reason): n for corpus, language, what, reason, n in summary["counts"]})


def flat(counts: tally.Counts) -> list[list[Any]]:
    """Counts for a summary."""
    return [[*key, n] for key, n in counts.items()]


def named(work: Path, sample: dict[str, Any]) -> dict[str, Any]:
    """A sample, in which the place of the first of its kind has become that row's id."""
    if not sample["reason"].startswith("duplicates: "):
        return sample
    place = int(sample["detail"], 16)
    table = pq.read_table(_chunk_of(work, place), columns=["id", "place"])
    return sample | {"detail": f"of {table['id'][int(np.searchsorted(table['place'].to_numpy(), np.uint64(place)))].as_py()}"}


class _Signatures:
    """Looks signatures up in the chunks' files."""

    def __init__(self, work: Path) -> None:
        self.files = sorted((work / "signatures").glob("*.places.npy"))
        self.starts = np.array([int(path.name.split(".")[0], 16) for path in self.files], np.uint64)

    def __call__(self, wanted: Hashes) -> Signatures:
        """[places, PERMUTATIONS] of sorted places."""
        found = np.empty((len(wanted), duplicates.PERMUTATIONS), np.uint32)
        chunk_of = np.searchsorted(self.starts, wanted, side="right") - 1
        edges = np.flatnonzero(np.diff(chunk_of, prepend=-1, append=len(self.files)))
        for start, end in pairwise(edges):
            path = self.files[chunk_of[start]]
            rows = np.searchsorted(np.load(path, mmap_mode="r"), wanted[start:end])
            found[start:end] = np.load(path.with_name(path.name.replace(".places", "")), mmap_mode="r")[rows]
        return found


def _write_rejects(path: Path, table: pa.Table) -> tuple[dict[str, int], dict[str, list[str]]]:
    """Write the rows that could not be read, if there are any. By corpus: how many, and lines about the first of them."""
    bad = table.filter(pc.starts_with(table["dropped"], tally.READ)).select(["corpus", "id", "dropped", "detail"])
    shown: dict[str, list[str]] = {}
    if not bad.num_rows:
        return {}, shown
    with path.open("w", encoding="utf-8") as file:
        for row in bad.to_pylist():
            reason = row.pop("dropped")
            file.write(json.dumps(row | {"reason": reason}, ensure_ascii=False) + "\n")
            lines = shown.setdefault(row["corpus"], [])
            if len(lines) < SHOWN:
                lines.append(f"{row['id']}: {reason.removeprefix(tally.READ).strip()}: {row['detail']}")
    return dict(Counter(bad["corpus"].to_pylist())), shown


def _chunk_of(work: Path, place: int) -> Path:
    chunks = sorted((work / "chunks").iterdir())
    starts = np.array([int(path.stem, 16) for path in chunks], np.uint64)
    return chunks[int(np.searchsorted(starts, np.uint64(place), side="right")) - 1]


def _save(path: Path, values: Keys) -> None:
    """As [fields, values], so that a range of the first field is found without reading the rest."""
    fields = values.dtype.names or ()
    np.save(path, np.stack([values[name] for name in fields]))


def _between(folder: Path, dtype: np.dtype[np.void], low: int, high: int | None) -> Keys:
    """The values of all files in a folder whose first field is in [low, high), files in their order; sorted inside a file."""
    found = [np.empty(0, dtype)]
    for path in sorted(folder.iterdir()):
        fields = np.load(path, mmap_mode="r")
        start = np.searchsorted(fields[0], np.uint64(low))
        end = fields.shape[1] if high is None else np.searchsorted(fields[0], np.uint64(high))
        values = np.empty(end - start, dtype)
        for name, field in zip(dtype.names or (), fields, strict=True):
            values[name] = field[start:end]
        found.append(values)
    return np.concatenate(found)


def _pair_bytes(table: pa.Table) -> int:
    pairs = table.filter(active_pairs(table))
    texts = (pc.sum(pc.binary_length(pairs[name])).as_py() or 0 for name in ("original", "translation"))
    return sum(texts) + _ROW_BYTES * int(pairs.num_rows)
