"""Corpora of a supervised stage to the packs that it reads, once for the same files and configuration."""

import json
import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray

from actors.datasets import DROPPED, INDEX, REJECTS, Recipe, prepare
from actors.group import get
from tower_rl.config.schema import Config, CptStage, SftStage
from tower_rl.data import pack_writer
from tower_rl.data.corpus import recipe
from tower_rl.data.corpus.readers import dispatch
from tower_rl.data.pack_index import INDEX as PACK_INDEX
from tower_rl.data.packing import packs

WINDOW = 16_384
"""Documents that are packed together."""
_BATCH_ROWS = 4096


def prepared(config: Config, stage: CptStage | SftStage, model: Path, about: Path) -> Path:
    """The folder of packs of a stage; what became of the rows is copied to the folder `about`.

    Raises:
        DataError: for a corpus that is not there or has too many bad rows.
        RunError: when a worker is lost, or nothing goes on for `data.stall_timeout_s`.
    """
    read = recipe.parts(config.data)
    name = recipe.digest(config.data, stage, config.run.seed, model, read)
    cache = Path(os.path.expanduser(config.data.cache)).absolute()
    cache.mkdir(parents=True, exist_ok=True)
    rows, folder = cache / f"rows-{name}", cache / f"packs-{name}"
    asked = Recipe(
        parts=read,
        read=partial(dispatch.tables),
        cleaning=config.data.cleaning,
        make=recipe.make(config.data, stage, config.run.seed, model),
        max_rejects={name: corpus.max_rejects for name, corpus in config.data.corpora.items()},
    )
    prepare(asked, rows, config.data.stall_timeout_s)
    about.mkdir(parents=True, exist_ok=True)
    for file in (INDEX, DROPPED, REJECTS):
        shutil.copyfile(rows / file, about / file)
    if not (folder / PACK_INDEX).exists():
        task: Any = ray.remote(_pack)
        get("packing", config.data.stall_timeout_s, [task.remote(rows, folder, stage.sequence_length)])
    return folder


def _pack(rows: Path, folder: Path, sequence_length: int) -> None:
    index = json.loads((rows / INDEX).read_text(encoding="utf-8"))
    tables = _tables([rows / shard["file"] for shard in index["shards"]])
    dropped = {corpus: told["dropped"] for corpus, told in index["corpora"].items()}
    made = packs(tables, sequence_length, WINDOW)
    pack_writer.write(folder, made, sequence_length=sequence_length, dropped=dropped, facts={})


def _tables(files: list[Path]) -> Iterator[pa.Table]:
    for file in files:
        for batch in pq.ParquetFile(file).iter_batches(_BATCH_ROWS):
            yield pa.Table.from_batches([batch])
