"""Rows that share text with evaluation files (13 words in a row, as in Brown et al. 2020, appendix C)."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from tower_rl.data.corpus.cleaning.shingles import Hashes, shingles, units
from tower_rl.data.corpus.cleaning.table import Loss, drop, records
from tower_rl.data.corpus.readers.places import find, opened
from tower_rl.data.rows import DataError

WORDS = 13
_BATCH = 10_000
_OWNER = "data.cleaning.decontaminate"


@dataclass(frozen=True)
class Decontaminate:
    """Looks rows up among the hashes of evaluation texts."""

    hashes: Path
    """A .npy file of `evaluation_hashes`; mapped, so that the processes of a machine share it."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Drops `decontaminate: 13 words` and, of texts shorter than that, `decontaminate: whole text`."""
        found = records(table)
        texts = [(row, text) for row, record in enumerate(found) if record for text in record.texts]
        runs = shingles([text for _, text in texts], WORDS)
        hits = np.flatnonzero(among(runs.hashes, _mapped(self.hashes)))
        losses: list[Loss | None] = [None] * table.num_rows
        for hit, at in zip(hits, np.searchsorted(runs.offsets, hits, side="right") - 1, strict=True):
            row, text = texts[at]
            losses[row] = losses[row] or _loss(units(text), int(hit - runs.offsets[at]))
        return drop(table, losses)


def evaluation_hashes(patterns: Sequence[str]) -> Hashes:
    """[hashes] sorted, each once: of the runs of WORDS words of every text, and of each shorter text as a whole.

    Texts are all strings in the rows of JSON lines (*.jsonl, *.json), and the lines of other files; either may be gzipped.
    Raises DataError for a pattern that no file matches, a file that cannot be read, and a broken line, by its number.
    """
    known = np.empty(0, np.uint64)
    for pattern in patterns:
        texts = (text for path in find(_OWNER, pattern) for text in _texts(path))
        while batch := list(islice(texts, _BATCH)):
            known = np.union1d(known, shingles(batch, WORDS).hashes)
    return known


def among(values: Hashes, known: Hashes) -> np.ndarray[Any, np.dtype[np.bool_]]:
    """[values] whether each is in the sorted array."""
    if not len(known):
        return np.zeros(len(values), bool)
    return known[np.minimum(np.searchsorted(known, values), len(known) - 1)] == values


def _loss(words: list[str], at: int) -> Loss:
    if len(words) < WORDS:
        return "decontaminate: whole text", "the text is an evaluation text"
    return f"decontaminate: {WORDS} words", f"an evaluation text has {' '.join(words[at : at + WORDS])!r}"


def _texts(path: str) -> Iterator[str]:
    is_json = path.removesuffix(".gz").endswith((".jsonl", ".json"))
    with opened(path) as file:
        for number, line in enumerate(file, start=1):
            try:
                text = line.decode("utf-8")
                yield from _strings(json.loads(text)) if is_json and text.strip() else (text,)
            except ValueError as error:
                raise DataError(f"{_OWNER}: {path}:{number}: {error}") from error


def _strings(value: Any) -> Iterator[str]:
    """All strings inside a JSON value, but for the keys."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _strings(each)


@cache
def _mapped(path: Path) -> Hashes:
    return np.load(path, mmap_mode="r")
