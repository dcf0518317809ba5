"""The stations for rows that belong together, between cleaning and training rows (tower_rl.data.corpus.chunks has the others).

    settle       chunk, and what it lost -> settled/; its pairs by bucket -> to-pivot/, to-join/; its short pairs -> terms/
    build_terms  short pairs of all chunks -> GLOSSARY
    make         settled rows of a chunk, or the pivots or joined pairs of a bucket -> shards/

All pairs of an original are in one bucket, and so are all of a document. Only what is asked for is written.
"""

import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tower_rl.config.corpora import Cleaning, ParallelTasks
from tower_rl.data.corpus import chunks
from tower_rl.data.corpus.chunks import Summary
from tower_rl.data.corpus.cleaning.table import Step
from tower_rl.data.corpus.instructions import documents, pivots
from tower_rl.data.corpus.instructions.convert import to_instructions
from tower_rl.data.corpus.instructions.glossary import Glossary, build_glossary, short_pairs
from tower_rl.data.corpus.instructions.tables import BUCKET
from tower_rl.data.corpus.instructions.tasks import WITH_TERMS
from tower_rl.data.corpus.records import RECORDS

GLOSSARY = "glossary.pickle"
_BUCKETED = RECORDS.append(pa.field(BUCKET, pa.int64()))
_OF_TERMS = ["corpus", "language", "kind", "dropped", "original", "translation"]
_ALONE, _JOINED, _PIVOTED = "settled", "joined", "pivoted"  # names of shards sort in this order, those of chunks are numbers


@dataclass(frozen=True, slots=True)
class Pairs:
    """What becomes of the pairs of all corpora."""

    tasks: ParallelTasks
    seed: int

    @property
    def joined(self) -> bool:
        """Whether neighbours in a document are."""
        return self.tasks.document_segments > 1

    @property
    def with_terms(self) -> bool:
        """Whether a task looks at terms."""
        return not WITH_TERMS.isdisjoint(self.tasks.tasks)

    @property
    def together(self) -> bool:
        """Whether any of this needs more than a row by itself."""
        return self.joined or self.with_terms or self.tasks.pivots > 0

    def instruct(self, glossary: Glossary) -> Step:
        """To chats, row by row. Whoever calls it has done what concerns rows together."""
        return partial(to_instructions, tasks=self.tasks, seed=self.seed, glossary=glossary)


def settle(work: Path, cleaning: Cleaning, pairs: Pairs, buckets: int, name: str) -> Summary:
    """Clean a chunk to the end, and write its rows to where they are needed.

    Returns:
        `counts` and `samples` of the dropped rows; no `shards`.
    """
    table, counts, samples = chunks.cleaned(work, cleaning, name)
    if pairs.with_terms:
        terms = short_pairs(table).group_by(_OF_TERMS).aggregate([])
        pq.write_table(terms, work / "terms" / f"{name}.parquet", compression="zstd")
    if pairs.tasks.pivots:
        _scatter(work / "to-pivot" / f"{name}.arrow", pivots.keyed(table, buckets), buckets)
    if pairs.joined:
        _scatter(work / "to-join" / f"{name}.arrow", documents.keyed(table, buckets), buckets)
        table = documents.not_keyed(table)
    pq.write_table(table, work / _ALONE / f"{name}.parquet", compression="zstd")
    return {"counts": chunks.flat(counts), "samples": samples, "shards": {}}


def build_terms(work: str) -> Summary:
    """Write the glossary of all corpora; memory grows with the different short pairs."""
    folder = Path(work)
    found = pa.concat_tables([pq.read_table(path) for path in sorted((folder / "terms").iterdir())])
    glossary = build_glossary(found.group_by(_OF_TERMS).aggregate([]))
    (folder / GLOSSARY).write_bytes(pickle.dumps(glossary))
    return {"counts": [], "samples": [], "shards": {}}


def items(work: Path, pairs: Pairs, buckets: int) -> list[dict[str, str]]:
    """The further arguments of all calls of `make`."""
    numbers = [f"{number:08d}" for number in range(buckets)]
    asked = {_ALONE: sorted(path.stem for path in (work / _ALONE).iterdir())}
    asked |= {_JOINED: numbers} if pairs.joined else {}
    asked |= {_PIVOTED: numbers} if pairs.tasks.pivots else {}
    return [{"what": what, "name": name} for what, names in asked.items() for name in names]


def make(work: Path, most: int, pairs: Pairs, steps: Sequence[Step], what: str, name: str) -> Summary:
    """Make the training rows of one of the `items`.

    Args:
        work: folder of the preparation.
        most: dropped rows that are kept as samples, for each corpus and reason.
        pairs: what becomes of pairs.
        steps: what comes behind, up to training rows.
        what: the kind of the item.
        name: the chunk or the bucket.
    """
    glossary = _glossary(work / GLOSSARY) if pairs.with_terms else {}
    shard = name if what == _ALONE else f"{what}-{name}"
    return chunks.shard(work, most, [pairs.instruct(glossary), *steps], shard, _rows(work, pairs, what, name))


def _rows(work: Path, pairs: Pairs, what: str, name: str) -> pa.Table:
    if what == _ALONE:
        return pq.read_table(work / _ALONE / f"{name}.parquet")
    if what == _JOINED:
        return documents.join(_bucket(work / "to-join", int(name)), pairs.tasks.document_segments, pairs.seed)
    return pivots.pivot(_bucket(work / "to-pivot", int(name)), pairs.tasks.pivots, pairs.seed)


def _scatter(path: Path, table: pa.Table, buckets: int) -> None:
    """Write rows by their bucket: its number is that of their batch in the file."""
    table = table.sort_by(BUCKET).combine_chunks()
    edges = np.searchsorted(table[BUCKET].to_numpy(), np.arange(buckets + 1))
    (batch,) = table.to_batches() or [pa.RecordBatch.from_pylist([], _BUCKETED)]
    with pa.ipc.new_file(path, _BUCKETED, options=pa.ipc.IpcWriteOptions(compression="zstd")) as file:
        for start, end in pairwise(edges):
            file.write_batch(batch.slice(start, end - start))


def _bucket(folder: Path, number: int) -> pa.Table:
    """The rows of a bucket, of all chunks."""
    batches = []
    for path in sorted(folder.iterdir()):
        with pa.memory_map(str(path)) as source:
            batches.append(pa.ipc.open_file(source).get_batch(number))
    return pa.Table.from_batches(batches, _BUCKETED)


@lru_cache(maxsize=1)
def _glossary(path: Path) -> Glossary:
    glossary: Glossary = pickle.loads(path.read_bytes())
    return glossary
