"""Corpora of a supervised stage to the packs that it reads, once for the same files and configuration."""

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from tempfile import NamedTemporaryFile
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from actors.datasets import DROPPED, INDEX, REJECTS, Recipe, prepare
from actors.group import get
from actors.stalled import Limit
from tower_rl.config.schema import Config
from tower_rl.config.stages import CptStage, SftStage
from tower_rl.data import pack_writer
from tower_rl.data.corpus import recipe
from tower_rl.data.corpus.readers import dispatch
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.pack_index import INDEX as PACK_INDEX
from tower_rl.data.packing import packs

T = TypeVar("T")
WINDOW = 16_384
"""Documents that are packed together."""
_BATCH_ROWS = 4096


def prepared(config: Config, stage: CptStage | SftStage, parts: Sequence[Part[Any]], model: Path, about: Path) -> Path:
    """The folder of packs that a stage makes of `recipe.parts`; what became of the rows is copied to the folder `about`.

    Raises:
        DataError: for too many bad rows.
        RunError: when a worker is lost, or nothing goes on for `data.stall_timeout_s`.
    """
    name = recipe.digest(config.data, stage, config.run.seed, model, parts)
    cache = Path(os.path.expanduser(config.data.cache)).absolute()
    cache.mkdir(parents=True, exist_ok=True)
    rows, folder = cache / f"rows-{name}", cache / f"packs-{name}"
    asked = Recipe(
        parts=parts,
        read=dispatch.tables,
        cleaning=config.data.cleaning,
        make=recipe.make(stage, model),
        max_rejects={name: corpus.max_rejects for name, corpus in config.data.corpora.items()},
        pairs=recipe.pairs(config.data, config.run.seed),
    )
    prepare(asked, rows, config.data.stall_timeout_s)
    about.mkdir(parents=True, exist_ok=True)
    for file in (INDEX, DROPPED, REJECTS):
        shutil.copyfile(rows / file, about / file)
    if not (folder / PACK_INDEX).exists():
        task: Any = ray.remote(_pack)
        with NamedTemporaryFile(dir=cache, prefix=f".{folder.name}.") as sign:
            packing = task.options(name="packing").remote(rows, folder, stage.sequence_length, Path(sign.name))
            await_working("packing", packing, Path(sign.name), config.data.stall_timeout_s)
    return folder


def await_working(waited_for: str, task: ray.ObjectRef, sign: Path, stall_s: float) -> None:
    """Wait for a task as long as it gives a sign of work, by a new time of this file, at least every `stall_s` seconds.

    Raises DeadlineExceeded, and what the task raises.
    """
    seen, limit = 0, Limit(stall_s, "data.stall_timeout_s")
    while not ray.wait([task], timeout=stall_s)[0]:
        last, seen = seen, sign.stat().st_mtime_ns
        if seen == last:
            ray.cancel(task, force=True)
            raise limit.gave_up(waited_for)
    get(waited_for, limit, [task])


def _pack(rows: Path, folder: Path, sequence_length: int, sign: Path) -> None:
    index = json.loads((rows / INDEX).read_text(encoding="utf-8"))
    tables = _tables([rows / shard["file"] for shard in index["shards"]])
    dropped = {corpus: told["dropped"] for corpus, told in index["corpora"].items()}
    made = packs(_signed(sign, tables), sequence_length, WINDOW)
    pack_writer.write(folder, _signed(sign, made), sequence_length=sequence_length, dropped=dropped, facts={})


def _signed(sign: Path, items: Iterable[T]) -> Iterator[T]:
    for item in items:
        os.utime(sign)
        yield item


def _tables(files: list[Path]) -> Iterator[pa.Table]:
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS):
            yield pa.Table.from_batches([batch])
