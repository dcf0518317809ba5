"""Corpora as a stream of training rows: read, cleaned and tokenized by Ray Data while a stage trains on them."""

import random
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pyarrow as pa
from ray.data import Dataset

from actors.datasets import blocks, context, mapped
from actors.stalled import Limit
from tower_rl.config.schema import Config
from tower_rl.config.stages import CptStage, SftStage
from tower_rl.data.corpus import chunks, recipe
from tower_rl.data.corpus.cleaning.decontaminate import evaluation_hashes
from tower_rl.data.corpus.cleaning.steps import after_duplicates, before_duplicates
from tower_rl.data.corpus.cleaning.table import Step
from tower_rl.data.corpus.readers import dispatch
from tower_rl.data.corpus.readers.part import Part

NO_DEADLINE = -1.0
"""Of Ray Data: a stream that waits for a slow trainer is not stalled. Who reads it waits `within` a deadline."""


def streamed(config: Config, stage: CptStage | SftStage, parts: Sequence[Part[Any]], model: Path, work: Path) -> Dataset:
    """All rows of the corpora (TOKENS), dropped ones too, in no certain order; made when they are read, each epoch anew.

    Every row is cleaned and made an instruction by itself, so there is no search for duplicates.

    Args:
        config: the run's.
        stage: the stage.
        parts: `recipe.parts` of the corpora.
        model: folder of the tokenizer.
        work: folder for the hashes of evaluation texts, which all nodes see.

    Raises DataError for evaluation files that cannot be read; later, while rows are read, what readers raise.
    """
    cleaning, seed = config.data.cleaning, config.run.seed
    work.mkdir(parents=True, exist_ok=True)
    hashes = work.absolute() / chunks.EVALUATION
    np.save(hashes, evaluation_hashes(cleaning.decontaminate))
    steps = [*before_duplicates(cleaning), *after_duplicates(cleaning, hashes), *recipe.alone(config.data, stage, seed, model)]
    items = [{"pickled": cloudpickle.dumps(part)} for part in _shuffled(parts, seed)]
    with context(NO_DEADLINE):
        return mapped(blocks(items), partial(_rows, steps), 1, 1)


def _shuffled(parts: Sequence[Part[Any]], seed: int) -> Sequence[Part[Any]]:
    """In file order one corpus would be learned after the other."""
    return random.Random(seed).sample(parts, len(parts))


def within(seconds: float, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """The tables, none of which lets one wait for longer. Raises DeadlineExceeded."""
    iterator = iter(tables)
    pool = ThreadPoolExecutor(1)
    try:
        while (table := pool.submit(next, iterator, None).result(seconds)) is not None:
            yield table
    except TimeoutError:
        raise Limit(seconds, "data.stall_timeout_s").gave_up("rows of the corpora") from None
    finally:
        pool.shutdown(wait=False)


def _rows(steps: Sequence[Step], batch: pa.Table) -> Iterator[pa.Table]:
    for pickled in batch["pickled"].to_pylist():
        for table in dispatch.tables(cloudpickle.loads(pickled)):
            for step in steps:
                table = step(table)
            yield table
