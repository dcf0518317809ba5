"""Lines of large files, one at a time, and where a file can be cut."""

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from tower_rl.data.corpus.readers import places
from tower_rl.data.corpus.readers.part import BadRow, C, Part
from tower_rl.data.rows import DataError

PART_LINES = 50_000
"""Lines of a part."""
LINE_BYTES = 10_000_000
"""A longer line is no row; it is passed over in pieces of this size."""

_CHUNK = 1 << 20
_BOM = b"\xef\xbb\xbf"


def parts(name: str, corpus: C, path: str) -> list[Part[C]]:
    """Every file that the path means, cut where it can be; in the order of their names and lines. Raises DataError."""
    found = places.find(f"corpus {name!r}", path)
    return [
        part
        for file, label in found.items()
        for part in (_cut(name, corpus, file, label) if can_be_cut(file) else [Part(name, corpus, (file,), label)])
    ]


def can_be_cut(path: str) -> bool:
    """A packed file can only be read from its beginning; a remote one would have to be read twice to find its lines."""
    return not places.is_remote(path) and not places.is_gzip(path)


def cuts(path: str, every: int) -> tuple[list[int], int]:
    """The bytes at which lines 1, every + 1, 2 * every + 1, ... begin, and the number of lines. Reads the file once."""
    starts, lines, position, last = [0], 0, 0, b"\n"
    with places.opened(path) as file:
        while chunk := file.read(_CHUNK):
            breaks = chunk.count(b"\n")
            if lines + breaks >= every * len(starts):
                ends = np.flatnonzero(np.frombuffer(chunk, np.uint8) == ord("\n"))
                for end in ends[every * len(starts) - lines - 1 :: every]:
                    starts.append(position + int(end) + 1)
            lines, position, last = lines + breaks, position + len(chunk), chunk[-1:]
    return [start for start in starts if start < position] or [0], lines + (last != b"\n")


def read(path: str, start: int = 0, first: int = 1, count: int | None = None) -> Iterator[tuple[int, str | BadRow]]:
    """Numbered lines without their ends, or why a line is none.

    Args:
        path: a file, may be packed or remote.
        start: the byte at which line `first` begins.
        first: its number.
        count: lines to read; None: to the end.

    Raises DataError, with the last good line, when the file cannot be read to its end.
    """
    number, end = first, None if count is None else first + count
    try:
        with places.opened(path) as file:
            if start:
                file.seek(start)
            while number != end and (line := file.readline(LINE_BYTES + 1)):
                if len(line) > LINE_BYTES and not line.endswith(b"\n"):
                    yield number, _too_long(len(line) + _skip_rest(file))
                else:
                    yield number, _decode(line, number)
                number += 1
    except DataError as error:
        raise DataError(f"{error}, after line {number - 1}") from error


def _skip_rest(file: BinaryIO) -> int:
    """Passes over the rest of a line; how many bytes it had."""
    skipped = 0
    while line := file.readline(_CHUNK):
        skipped += len(line)
        if line.endswith(b"\n"):
            break
    return skipped


def _too_long(size: int) -> BadRow:
    return BadRow("read: too long line", f"the line has {size:,} bytes; at most {LINE_BYTES:,} are read")


def _decode(line: bytes, number: int) -> str | BadRow:
    if number == 1:
        line = line.removeprefix(_BOM)
    try:
        return line.rstrip(b"\r\n").decode("utf-8")
    except UnicodeDecodeError as error:
        return BadRow("read: invalid UTF-8", f"byte {error.start + 1} of the line is no UTF-8: {error.reason}")


def _cut(name: str, corpus: C, path: str, label: str) -> list[Part[C]]:
    starts, _ = cuts(path, PART_LINES)
    return [
        Part(name, corpus, (path,), label, (start,), 1 + PART_LINES * place, PART_LINES) for place, start in enumerate(starts)
    ]
