"""Writes packs into parquet files with an index (data/pack_index.py)."""

import errno
import hashlib
import shutil
import uuid
from array import array
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tower_rl.data.pack_index import COLUMNS, INDEX, File, Index, Part, digest, read_index
from tower_rl.data.packs import Pack
from tower_rl.data.rows import DataError
from tower_rl.files import flush_to_disk, sha256

ROW_GROUP_TOKENS = 32_768  # what is decoded to read one pack
FILE_ROW_GROUPS = 256  # a file's footer grows with them: it is in memory while the file is written, and read when it is opened

# Token ids hardly repeat, so that a dictionary costs more than it saves; their upper bytes are mostly zero.
_ENCODING = {
    "use_dictionary": False,
    "column_encoding": {"token_ids.list.element": "BYTE_STREAM_SPLIT"},
    "compression": "zstd",
    "write_statistics": False,
    "write_page_checksum": True,
}


def write(
    folder: Path,
    packs: Iterable[Pack],
    *,
    sequence_length: int,
    dropped: Mapping[str, Mapping[str, int]],
    facts: Mapping[str, Any],
) -> Index:
    """Writes packs and their index; `folder` appears when all is on the disk, or never.

    When another process has meanwhile made the same folder, that one stays.

    Args:
        folder: where; its parent is made when it is missing.
        packs: of all streams, in any order; those of a stream keep theirs.
        sequence_length: most tokens of a pack.
        dropped: for each corpus of the run, rows that were dropped, by reason. Read after the last pack, as `facts` is, so that
            both may be counted while the packs are made.
        facts: what else is to stand in the index; JSON.

    Raises:
        DataError: when `folder` is there and has other packs, or a pack is longer than `sequence_length`.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    temporary = folder.with_name(f".{folder.name}.{uuid.uuid4().hex}.tmp")
    temporary.mkdir()
    try:
        training, held_out = _write_parts(temporary, packs, sequence_length)
        index = Index(
            format=1,
            digest=digest(sequence_length, training, held_out),
            sequence_length=sequence_length,
            packs_per_row_group=_packs_per_row_group(sequence_length),
            training=training,
            held_out=held_out,
            dropped={corpus: dict(reasons) for corpus, reasons in dropped.items()},
            facts=dict(facts),
        )
        (temporary / INDEX).write_text(index.model_dump_json(indent=1), encoding="utf-8")
        for path in [*temporary.rglob("*"), temporary]:
            flush_to_disk(path)
        return _publish(temporary, folder, index)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class _PartWriter:
    """Writes the packs of one stream for one purpose; holds one row group in memory."""

    def __init__(self, folder: Path, prefix: str, packs_per_row_group: int) -> None:
        (folder / prefix).parent.mkdir(exist_ok=True)
        self._folder = folder
        self._prefix = prefix
        self._rows = packs_per_row_group
        self._waiting: list[Pack] = []
        self._sizes = array("q")
        self._documents = 0
        self._content = hashlib.sha256()
        self._writer: pq.ParquetWriter | None = None
        self._packs_of_files: list[int] = []

    def add(self, pack: Pack) -> None:
        self._waiting.append(pack)
        self._sizes.extend((pack.tokens, int(pack.trained.sum())))
        self._documents += len(pack.lengths)
        self._content.update(len(pack.lengths).to_bytes(8, "little"))
        for values in (pack.lengths, pack.token_ids, pack.trained):
            self._content.update(values.tobytes())
        if len(self._waiting) == self._rows:
            self._write_row_group()

    def close(self) -> Part:
        if self._waiting:
            self._write_row_group()
        self._close_file()
        sizes = np.array(self._sizes, np.int64).reshape(-1, 2)
        np.save(self._folder / f"{self._prefix}-sizes.npy", sizes)
        tokens, trained_tokens = sizes.sum(0).tolist()
        return Part(
            packs=len(sizes),
            documents=self._documents,
            tokens=tokens,
            trained_tokens=trained_tokens,
            content=self._content.hexdigest(),
            sizes=_described(self._folder, f"{self._prefix}-sizes.npy", len(sizes)),
            files=[_described(self._folder, self._name(number), packs) for number, packs in enumerate(self._packs_of_files)],
        )

    def _write_row_group(self) -> None:
        columns = []
        for column in COLUMNS:
            values = [getattr(pack, column.name) for pack in self._waiting]
            offsets = np.cumsum([0, *map(len, values)]).astype(np.int32)
            flat = np.concatenate(values).astype(column.type.value_type.to_pandas_dtype())
            columns.append(pa.ListArray.from_arrays(offsets, flat))
        if self._writer is None:
            self._writer = pq.ParquetWriter(self._folder / self._name(len(self._packs_of_files)), COLUMNS, **_ENCODING)
            self._packs_of_files.append(0)
        self._writer.write_table(pa.Table.from_arrays(columns, schema=COLUMNS))
        self._packs_of_files[-1] += len(self._waiting)
        self._waiting = []
        if self._packs_of_files[-1] == FILE_ROW_GROUPS * self._rows:
            self._close_file()

    def _close_file(self) -> None:
        if self._writer is not None:
            self._writer.close()
            self._writer = None

    def _name(self, number: int) -> str:
        return f"{self._prefix}-{number:05}.parquet"


def _write_parts(folder: Path, packs: Iterable[Pack], sequence_length: int) -> tuple[dict[str, Part], dict[str, Part]]:
    """The parts for training and those that are held out, by stream."""
    writers: dict[tuple[bool, str], _PartWriter] = {}
    for pack in packs:
        if pack.tokens > sequence_length:
            raise DataError(f"a pack of {pack.stream} has {pack.tokens} tokens, more than sequence_length = {sequence_length}")
        key = (pack.held_out, pack.stream)
        if key not in writers:
            prefix = "held_out" if pack.held_out else "training"
            writers[key] = _PartWriter(folder, f"{quote(pack.stream, safe='')}/{prefix}", _packs_per_row_group(sequence_length))
        writers[key].add(pack)
    training, held_out = (
        {stream: writers[side, stream].close() for which, stream in sorted(writers) if which == side} for side in (False, True)
    )
    return training, held_out


def _packs_per_row_group(sequence_length: int) -> int:
    return max(1, ROW_GROUP_TOKENS // sequence_length)


def _described(folder: Path, name: str, packs: int) -> File:
    return File(name=name, bytes=(folder / name).stat().st_size, sha256=sha256(folder / name), packs=packs)


def _publish(temporary: Path, folder: Path, index: Index) -> Index:
    try:
        temporary.rename(folder)
    except OSError as error:
        if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
        there = read_index(folder)
        if there.digest != index.digest:
            raise DataError(f"{folder} is there already and has other packs; it is not overwritten") from error
        return there
    flush_to_disk(folder.parent)
    return index
