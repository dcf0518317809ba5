"""Splits of Hugging Face data sets: saved folders, folders of data files, names on the hub."""

from collections.abc import Iterator
from pathlib import Path

import datasets

from tower_rl.config.corpora import HuggingFaceCorpus
from tower_rl.data.corpus.readers import rows, shapes
from tower_rl.data.corpus.readers.part import Part, Record
from tower_rl.data.corpus.readers.tags import configured
from tower_rl.data.rows import DataError, Reject

PART_ROWS = 50_000
"""Rows of a part."""

_SAVED = ("state.json", "dataset_dict.json")


def files(name: str, corpus: HuggingFaceCorpus) -> list[Part[HuggingFaceCorpus]]:
    """One part per PART_ROWS rows of the split. What the hub has is loaded into the cache of `datasets`. Raises DataError."""
    configured(name, corpus.language)
    split = _split(name, corpus)
    # Memory-mapped files are what keeps memory bounded, and what `digest` looks at.
    paths = tuple(str(file["filename"]) for file in split.cache_files)
    if not paths:
        raise DataError(f"corpus {name!r}: {corpus.path} is held in memory only; unset HF_DATASETS_IN_MEMORY_MAX_SIZE")
    return [
        Part(name, corpus, paths, corpus.split, (start,), 1 + start, PART_ROWS) for start in range(0, split.num_rows, PART_ROWS)
    ]


def read(part: Part[HuggingFaceCorpus]) -> Iterator[Record | Reject]:
    """Rows of the part, batch by batch. Raises DataError."""
    language = configured(part.name, part.corpus.language)
    split = _split(part.name, part.corpus).with_format("arrow")
    end = min(part.starts[0] + PART_ROWS, split.num_rows)
    for start in range(part.starts[0], end, rows.BATCH_ROWS):
        yield from rows.read(part, split[start : min(start + rows.BATCH_ROWS, end)], 1 + start, language)


def _split(name: str, corpus: HuggingFaceCorpus) -> datasets.Dataset:
    """The split with the columns that a row may have. Other columns may hold images or sound, which nobody decodes here."""
    split = _load(name, corpus)
    columns = [column for column in split.column_names if column in shapes.FIELDS]
    if not columns:
        raise DataError(f"corpus {name!r}: {corpus.path} has none of the columns {', '.join(shapes.FIELDS)}")
    return split.select_columns(columns)


def _load(name: str, corpus: HuggingFaceCorpus) -> datasets.Dataset:
    folder = Path(corpus.path).expanduser()
    try:
        if any((folder / mark).exists() for mark in _SAVED):
            return _of_saved(name, corpus, datasets.load_from_disk(str(folder)))
        return datasets.load_dataset(str(folder) if folder.exists() else corpus.path, split=corpus.split)
    except (OSError, ValueError, datasets.exceptions.DatasetsError) as error:
        raise DataError(f"corpus {name!r}: {corpus.path} cannot be loaded: {error}") from error


def _of_saved(name: str, corpus: HuggingFaceCorpus, saved: datasets.Dataset | datasets.DatasetDict) -> datasets.Dataset:
    if isinstance(saved, datasets.Dataset):
        saved = {str(saved.split or corpus.split): saved}
    if corpus.split not in saved:
        raise DataError(f"corpus {name!r}: {corpus.path} has no split {corpus.split!r}; it has {', '.join(saved)}")
    return saved[corpus.split]
