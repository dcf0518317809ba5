"""Reads any pack of a folder without the others (data/pack_index.py)."""

from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from itertools import accumulate
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tower_rl.data.pack_index import COLUMNS, INDEX, File, read_index
from tower_rl.data.packs import Contents, Pack, PackRef
from tower_rl.data.rows import DataError
from tower_rl.files import sha256
from tower_rl.types import Ints

CACHED_ROW_GROUPS = 16
OPEN_FILES = 32


class PackReader:
    """Packs of a folder by stream and place; what is in memory does not grow with their number.

    Any number of processes may read a folder, each with a reader of its own. Raises DataError when the folder is incomplete or a
    file has another size than the index says; `verify` looks at the bytes as well.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.index = read_index(folder)
        for file in self.index.files:
            self._check_size(file)
        self._starts = {
            (stream, held_out): list(accumulate((file.packs for file in part.files), initial=0))
            for held_out, parts in ((False, self.index.training), (True, self.index.held_out))
            for stream, part in parts.items()
        }
        self._open = lru_cache(OPEN_FILES)(self._open_uncached)
        self._row_group = lru_cache(CACHED_ROW_GROUPS)(self._row_group_uncached)

    def contents(self) -> Contents:
        """What the order of training depends on; reads the sizes of all packs."""
        training, held_out = (
            {stream: self._sizes(part.sizes) for stream, part in parts.items()}
            for parts in (self.index.training, self.index.held_out)
        )
        return Contents(self.index.digest, training, held_out, self.index.dropped)

    def read(self, ref: PackRef) -> Pack:
        """One pack. Raises DataError when its bytes are damaged, KeyError or IndexError when there is no such pack."""
        starts = self._starts[ref.stream, ref.held_out]
        if not 0 <= ref.place < starts[-1]:
            raise IndexError(f"{ref.stream} has {starts[-1]} packs, none at {ref.place}")
        number = bisect_right(starts, ref.place) - 1
        part = (self.index.held_out if ref.held_out else self.index.training)[ref.stream]
        group, row = divmod(ref.place - starts[number], self.index.packs_per_row_group)
        token_ids, trained, lengths = self._row_group(part.files[number].name, group)
        return Pack(
            token_ids[row].values.to_numpy().astype(np.int64),
            trained[row].values.to_numpy(zero_copy_only=False),
            lengths[row].values.to_numpy().astype(np.int64),
            ref.stream,
            ref.held_out,
        )

    def verify(self) -> None:
        """Reads every file; raises DataError that names the first missing, resized or altered one."""
        for file in self.index.files:
            self._check_size(file)
            self._check_digest(file)

    def _check_size(self, file: File) -> None:
        path = self.folder / file.name
        if not path.is_file():
            raise DataError(f"{path} is missing; remove {self.folder}, and it is made anew")
        if path.stat().st_size != file.bytes:
            raise DataError(f"{path} is damaged: it has {path.stat().st_size} bytes instead of {file.bytes}")

    def _check_digest(self, file: File) -> None:
        if sha256(self.folder / file.name) != file.sha256:
            raise DataError(f"{self.folder / file.name} is damaged: its SHA-256 is not the one in {INDEX}")

    def _sizes(self, file: File) -> Ints:
        self._check_digest(file)  # it decides the order of training, and it is small
        sizes: Ints = np.load(self.folder / file.name, allow_pickle=False)
        return sizes

    def _open_uncached(self, name: str) -> pq.ParquetFile:
        with _damage_of(self.folder / name):
            return pq.ParquetFile(self.folder / name, page_checksum_verification=True)

    def _row_group_uncached(self, name: str, group: int) -> list[pa.ListArray]:
        file = self._open(name)
        with _damage_of(self.folder / name):
            table = file.read_row_group(group, columns=COLUMNS.names, use_threads=False)
        return [table[column].combine_chunks() for column in COLUMNS.names]


@contextmanager
def _damage_of(path: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, pa.ArrowInvalid) as error:
        raise DataError(f"{path} cannot be read, or is damaged: {error}") from error
