"""The index of a folder of packs.

    FOLDER/index.json                                what there is: sizes and digests of files, numbers of packs and tokens
    FOLDER/CORPUS%2FLANGUAGE/training-00000.parquet  one pack a row, the same number of rows in every row group but the last
    FOLDER/CORPUS%2FLANGUAGE/training-sizes.npy      [P, 2] all tokens and learned tokens of each pack
    FOLDER/CORPUS%2FLANGUAGE/held_out-...            the same for validation

A folder is complete or absent (data/pack_writer.py); any pack is read without the others (data/pack_reader.py).
"""

import hashlib
import json
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
from pydantic import BaseModel, ConfigDict, ValidationError

from tower_rl.data.rows import DataError

INDEX = "index.json"

COLUMNS = pa.schema([("token_ids", pa.list_(pa.int32())), ("trained", pa.list_(pa.bool_())), ("lengths", pa.list_(pa.int32()))])
"""Of the parquet files: the arrays of a pack."""


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class File(_Entry):
    """A file of the folder."""

    name: str
    """Relative to the folder."""
    bytes: int
    """Its size."""
    sha256: str
    """Its digest."""
    packs: int
    """Packs in it."""


class Part(_Entry):
    """The packs of a stream for one purpose."""

    packs: int
    """Packs."""
    documents: int
    """Documents."""
    tokens: int
    """All tokens."""
    trained_tokens: int
    """Tokens that are learned."""
    content: str
    """SHA-256 of the packs in their order, whatever the files look like."""
    sizes: File
    """[packs, 2] all tokens and learned tokens of each pack, as .npy."""
    files: list[File]
    """The packs, as parquet."""


class Index(_Entry):
    """What a folder of packs has."""

    format: Literal[1]
    """Version of this layout."""
    digest: str
    """Of the sequence length and of all parts."""
    sequence_length: int
    """Most tokens of a pack."""
    packs_per_row_group: int
    """Rows of every row group but a file's last."""
    training: dict[str, Part]
    """By stream."""
    held_out: dict[str, Part]
    """By stream."""
    dropped: dict[str, dict[str, int]]
    """For each corpus of the run, rows that were dropped, by reason."""
    facts: dict[str, Any]
    """What else the writer wanted to be known."""

    @property
    def files(self) -> list[File]:
        """All files but the index."""
        parts = [*self.training.values(), *self.held_out.values()]
        return [file for part in parts for file in (part.sizes, *part.files)]


def read_index(folder: Path) -> Index:
    """The index of a folder. Raises DataError when there is none, or it is damaged."""
    try:
        index = Index.model_validate_json((folder / INDEX).read_bytes())
    except FileNotFoundError:
        raise DataError(f"{folder} has no packs: {INDEX} is missing") from None
    except ValidationError as error:
        raise DataError(f"{folder / INDEX} is damaged: {error}") from error
    if index.digest != digest(index.sequence_length, index.training, index.held_out):
        raise DataError(f"{folder / INDEX} is damaged: its digest is not that of its parts")
    return index


def digest(sequence_length: int, training: dict[str, Part], held_out: dict[str, Part]) -> str:
    """SHA-256 of what the packs are and in which order, whatever the files look like."""
    parts = [{stream: part.content for stream, part in sorted(side.items())} for side in (training, held_out)]
    return hashlib.sha256(json.dumps([sequence_length, *parts]).encode()).hexdigest()
