"""Corpora to shards of training rows, by Ray Data: streaming, so that neither the driver nor a worker ever holds a corpus.

Three passes, whose stations tower_rl.data.corpus.chunks describes: rows are read and cleaned chunk by chunk; keys of all chunks
are compared range by range, so that duplicates are found across corpora; chunks are finished. The last is two where pairs are
needed together (tower_rl.data.corpus.groups): bucket by bucket, or for a glossary of all. Rows live on disk between the
passes, and only small summaries come back. Which worker does what, and when, changes nothing in the result.
"""

import json
import os
import shutil
import socket
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import ray
from ray import cloudpickle
from ray.data import DataContext, Dataset
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
from ray.util.annotations import RayDeprecationWarning

from actors.stalled import Limit
from tower_rl.config.corpora import Cleaning
from tower_rl.data.corpus import chunks, groups, tally
from tower_rl.data.corpus.chunks import Summary
from tower_rl.data.corpus.cleaning.decontaminate import evaluation_hashes
from tower_rl.data.corpus.cleaning.table import Step
from tower_rl.data.corpus.groups import Pairs
from tower_rl.data.rows import SHOWN, DataError, check_share
from tower_rl.files import replace_text
from tower_rl.protocols import RunError, WorkerLost
from tower_rl.status import finish, report

INDEX, REJECTS, DROPPED = "index.json", "rejects.jsonl", "dropped.jsonl"
CHUNK_BYTES = 4 * 2**20
"""Of a chunk in memory; a worker holds a few copies of one."""
READING_CPUS = 0.5
RETRIES = 3
"""How often a task is started anew whose worker's process died."""
KEYS_A_BUCKET = 2**20
"""Keys that are compared at once: 24 MB, and at most 512 MB of signatures where all are near each other."""
BUCKET_BYTES = 8 * 2**20
"""Of pairs that are joined or pivoted at once; as Python objects they take some ten times as much."""


@dataclass(frozen=True)
class Recipe:
    """What a preparation does, but for where; it must be possible to pickle it."""

    parts: Sequence[Any]
    """What can be read by itself, in the order of the corpora."""
    read: Callable[[Any], Iterator[pa.Table]]
    """Tables of RECORDS of a part; raises DataError for one that cannot be read at all."""
    cleaning: Cleaning
    make: Sequence[Step]
    """From clean rows to training rows: tables with at least id, corpus, language, dropped and detail."""
    max_rejects: Mapping[str, float]
    """Of each corpus, the share of rows that cannot be read above which the preparation stops."""
    pairs: Pairs | None = None
    """What becomes of pairs before `make`; None: nothing."""


def prepare(recipe: Recipe, folder: Path, stall_s: float) -> dict[str, Any]:
    """Make `folder`, which is whole or absent: shards of rows in corpus order, index.json, dropped.jsonl and rejects.jsonl.

    Args:
        recipe: what to do.
        folder: named by the digest of all that the rows depend on; one that is there already is taken as it is.
        stall_s: seconds without any progress of any worker after which it is given up.

    Returns:
        The index: `shards` (file and rows), and counts, see tower_rl.data.corpus.tally.report.

    Raises:
        DataError: for too many bad rows (with the first ten), and what readers and evaluation files raise.
        DeadlineExceeded: when nothing goes on.
        WorkerLost: when a task's process dies, and dies again RETRIES times.
    """
    folder = folder.absolute()  # workers have another working directory
    if not (folder / INDEX).exists():
        with _partial(folder) as work:
            index = _prepare(recipe, work, stall_s)
            replace_text(work / INDEX, json.dumps(index, ensure_ascii=False, indent=1) + "\n")
            _publish(work, folder)
    return dict(json.loads((folder / INDEX).read_text(encoding="utf-8")))


def _prepare(recipe: Recipe, work: Path, stall_s: float) -> dict[str, Any]:
    cleaning = recipe.cleaning
    np.save(work / chunks.EVALUATION, evaluation_hashes(cleaning.decontaminate))
    counts, sizes = _read_and_clean(recipe, work, stall_s)
    for kind in ("exact", "near"):
        buckets = -(-sizes[kind] // KEYS_A_BUCKET)
        compare = partial(chunks.compare, work, kind, cleaning.near_duplicates)
        items = [{"bucket": bucket, "buckets": buckets} for bucket in range(buckets)]
        for _ in each(f"comparison of {kind} duplicates", items, compare, stall_s):
            pass
    shards: dict[str, int] = {}
    samples: list[dict[str, Any]] = []
    for summary in _finished(recipe, work, sizes["pairs"], stall_s):
        counts += chunks.counts_of(summary)
        shards |= summary["shards"]
        samples = tally.fewest([*samples, *summary["samples"]], cleaning.samples)
    _write_lines(work / DROPPED, (chunks.named(work, sample) for sample in samples))
    _join(work / REJECTS, sorted((work / "rejects").iterdir()))
    return {"shards": _number(work, shards)} | tally.report(counts)


def _finished(recipe: Recipe, work: Path, pair_bytes: int, stall_s: float) -> Iterator[Summary]:
    """What the last stations say."""
    cleaning, pairs = recipe.cleaning, recipe.pairs
    names = [{"name": path.stem} for path in sorted((work / "chunks").iterdir())]
    if pairs is None or not pairs.together:
        steps = [*([pairs.instruct({})] if pairs else []), *recipe.make]
        yield from each("end of cleaning", names, partial(chunks.finish, work, cleaning, steps), stall_s)
        return
    buckets = -(-pair_bytes // BUCKET_BYTES)
    yield from each("end of cleaning", names, partial(groups.settle, work, cleaning, pairs, buckets), stall_s)
    if names and pairs.with_terms:
        yield from each("the glossary", [{"work": str(work)}], groups.build_terms, stall_s)
    items = groups.items(work, pairs, buckets)
    yield from each("training rows", items, partial(groups.make, work, cleaning.samples, pairs, recipe.make), stall_s)


def _read_and_clean(recipe: Recipe, work: Path, stall_s: float) -> tuple[tally.Counts, dict[str, int]]:
    """Counts of the rows, numbers of keys, and the bytes of pairs. Raises DataError for too many bad rows."""
    counts: tally.Counts = Counter()
    sizes = {"exact": 0, "near": 0, "pairs": 0}
    bad: Counter[str] = Counter()
    shown: dict[str, list[tuple[str, list[str]]]] = {}
    items = [{"part": number, "pickled": cloudpickle.dumps(part)} for number, part in enumerate(recipe.parts)]
    with context(stall_s):
        # Another share of a core than cleaning has, or Ray Data would make one task of both, and clean a large file on one core.
        tables = mapped(blocks(items), partial(_read, recipe.read), 1, READING_CPUS)
        cleaned = mapped(tables, partial(_clean, work, recipe.cleaning), None, 1)
        for summary in _summaries("reading and cleaning", cleaned, stall_s):
            counts += chunks.counts_of(summary)
            report("reading and cleaning", "row", counts.total())
            bad.update(summary["bad"])
            for corpus, lines in summary["shown"].items():
                shown[corpus] = sorted([*shown.get(corpus, []), (summary["name"], lines)])[:SHOWN]
            for kind in sizes:
                sizes[kind] += summary[kind]
    finish()
    _check_rejects(recipe.max_rejects, counts, bad, shown)
    return counts, sizes


def _check_rejects(
    most: Mapping[str, float], counts: tally.Counts, bad: Mapping[str, int], shown: Mapping[str, list[tuple[str, list[str]]]]
) -> None:
    for corpus, n in bad.items():
        total = sum(count for key, count in counts.items() if key[0] == corpus)
        check_share(f"corpus {corpus!r}", n, total, most[corpus], [line for _, some in shown[corpus] for line in some])


def _read(read: Callable[[Any], Iterator[pa.Table]], batch: pa.Table) -> Iterator[pa.Table]:
    """The tables of a part, with the places of their rows."""
    for item in batch.to_pylist():
        row = 0
        for table in read(cloudpickle.loads(item["pickled"])):
            yield table.append_column("place", pa.array(chunks.places(item["part"], row, table.num_rows)))
            row += table.num_rows


def _clean(work: Path, cleaning: Cleaning, table: pa.Table) -> pa.Table:
    """A part without rows makes a block without columns."""
    return _said([chunks.clean(work, cleaning, table)] if table.num_rows else [])


def each(
    waited_for: str, items: Sequence[Mapping[str, Any]], function: Callable[..., Mapping[str, Any]], stall_s: float
) -> Iterator[Summary]:
    """What the function says of each item (its keyword arguments), as each is done; it can be pickled.

    Raises DeadlineExceeded when nothing goes on for so many seconds, WorkerLost, DataError.
    """

    def call(batch: pa.Table) -> pa.Table:
        return _said([function(**item) for item in batch.to_pylist()])

    if items:
        with context(stall_s):
            summaries = _summaries(waited_for, mapped(blocks(items), call, 1, 1), stall_s)
            for done, summary in enumerate(summaries, start=1):
                report(waited_for, "part", done, len(items))
                yield summary
        finish()


class RayMapper:
    """A Mapper over Ray Data."""

    def __init__(self, stall_s: float) -> None:
        """Gives up after so many seconds without progress."""
        self.stall_s = stall_s

    def each(
        self, waited_for: str, items: Sequence[Mapping[str, Any]], function: Callable[..., Mapping[str, Any]]
    ) -> Iterator[Mapping[str, Any]]:
        """See tower_rl.protocols.Mapper."""
        return each(waited_for, items, function, self.stall_s)


def blocks(items: Sequence[Mapping[str, Any]]) -> Dataset:
    """One block, and so one task, for each item."""
    return ray.data.from_items([dict(item) for item in items], override_num_blocks=len(items))


def mapped(dataset: Dataset, function: Callable[[pa.Table], Any], rows: int | None, cpus: float) -> Dataset:
    """The function on so many rows at once, or on whole blocks; Ray's own choice is to start a task anew without end."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RayDeprecationWarning)  # of max_retries, for which Ray has no other place yet
        return dataset.map_batches(
            function, batch_size=rows, batch_format="pyarrow", zero_copy_batch=True, num_cpus=cpus, max_retries=RETRIES
        )


def _said(summaries: Sequence[Mapping[str, Any]]) -> pa.Table:
    return pa.table({"summary": pa.array([json.dumps(summary) for summary in summaries], pa.string())})


@contextmanager
def context(stall_s: float) -> Iterator[None]:
    """Ray Data's settings for data sets that are made and run inside."""
    context = DataContext.get_current().copy()
    context.target_max_block_size = CHUNK_BYTES
    context.execution_no_progress_timeout_s = stall_s
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.raise_original_map_exception = True
    with DataContext.current(context):
        yield


def _summaries(waited_for: str, dataset: Dataset, stall_s: float) -> Iterator[Summary]:
    """What the tasks say, as they end; Ray's errors as those of tower_rl.protocols, and what a task raised as it was."""
    try:
        for row in dataset.iter_rows():
            yield json.loads(row["summary"])
    except ExecutionTimeoutError:
        raise Limit(stall_s, "data.stall_timeout_s").gave_up(waited_for) from None
    except RayTaskError as error:
        if isinstance(error.cause, RunError | DataError):
            message = str(error.cause).split("\nFailed to apply UDF transform")[0]  # advice about Ray's settings follows
            raise type(error.cause)(message) from error
        raise
    except (RayActorError, OutOfMemoryError, WorkerCrashedError) as error:
        raise WorkerLost(f"{waited_for}: a worker is lost: {str(error).strip().splitlines()[0]}") from error


@contextmanager
def _partial(folder: Path) -> Iterator[Path]:
    """A folder beside `folder` to work in, gone at the end; those of killed preparations go, too."""
    host = socket.gethostname()
    for left in folder.parent.glob(f".{folder.name}.{host}.*.partial"):
        if not Path(f"/proc/{left.name.split('.')[-2]}").exists():
            shutil.rmtree(left)
    work = folder.with_name(f".{folder.name}.{host}.{os.getpid()}.partial")
    try:
        for name in chunks.FOLDERS:
            (work / name).mkdir(parents=True)
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _publish(work: Path, folder: Path) -> None:
    for name in set(chunks.FOLDERS) - {"shards"}:
        shutil.rmtree(work / name)
    (work / chunks.EVALUATION).unlink()
    (work / groups.GLOSSARY).unlink(missing_ok=True)
    try:
        work.rename(folder)
    except OSError:
        if not (folder / INDEX).exists():  # else another run made the same meanwhile
            raise


def _number(work: Path, rows: Mapping[str, int]) -> list[dict[str, Any]]:
    """Give the shards that have rows their numbers, in corpus order."""
    shards: list[dict[str, Any]] = []
    for name in sorted(rows):
        path = work / "shards" / f"{name}.parquet"
        if rows[name]:
            shards.append({"file": f"shards/{len(shards):06d}.parquet", "rows": rows[name]})
            path.rename(work / str(shards[-1]["file"]))
        else:
            path.unlink()
    return shards


def _write_lines(path: Path, rows: Iterable[Mapping[str, Any]]) -> None:
    with path.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def _join(path: Path, files: Sequence[Path]) -> None:
    with path.open("wb") as file:
        for each in files:
            with each.open("rb") as source:
                shutil.copyfileobj(source, file)
