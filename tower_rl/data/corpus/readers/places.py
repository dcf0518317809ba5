"""Files: local names, patterns and URIs; opened, and identified by their content."""

import glob
import gzip
import hashlib
import io
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, cast

import fsspec

from tower_rl.data.corpus.readers.part import C, Part, is_text
from tower_rl.data.rows import DataError

_CONTENT_KEYS = ("ETag", "etag", "md5Hash", "crc32c", "checksum", "sha256", "content_md5")
_CHUNK = 1 << 20


def find(owner: str, path: str) -> dict[str, str]:
    """The files that a name, a pattern with `*` or a URI means, sorted, each with its label.

    A label is the name without the folders before the pattern's first `*`, so that the ids of rows stay when the corpus moves
    or grows.

    Raises DataError, which begins with `owner`, when there is none, or when the URI's file system is not installed.
    """
    found = _find_remote(owner, path) if is_remote(path) else _find_local(owner, path)
    if not found:
        raise DataError(f"{owner}: {path} matches no file" if "*" in path else f"{owner}: there is no file {path}")
    for name in found:
        if not is_text(name):
            raise DataError(f"{owner}: the name of the file {name!a} is no UTF-8")
    return found


def parts(name: str, corpus: C, path: str) -> list[Part[C]]:
    """One part per file that the path means. Raises DataError."""
    return [Part(name, corpus, (file,), label) for file, label in find(f"corpus {name!r}", path).items()]


def is_remote(path: str) -> bool:
    """Whether fsspec reads it."""
    return "://" in path


def is_gzip(path: str) -> bool:
    """Whether it is read through gzip; its name says so."""
    return path.endswith(".gz")


@contextmanager
def opened(path: str) -> Iterator[BinaryIO]:
    """The bytes of a file, unpacked where its name ends in .gz.

    Raises DataError when it cannot be opened, or cannot be read or unpacked to its end.
    """
    try:
        with fsspec.open(path, "rb") if is_remote(path) else open(path, "rb") as raw:
            if is_gzip(path):
                with gzip.open(raw) as unpacked:
                    yield cast(BinaryIO, unpacked)
            else:
                # Files of fsspec have a readline in plain Python; the buffer's is in C.
                yield cast(BinaryIO, io.BufferedReader(raw) if is_remote(path) else raw)
    except (OSError, EOFError, zlib.error) as error:
        raise DataError(f"{path} cannot be read: {error}") from error


def identity(path: str) -> str:
    """What changes when the content does: a local file's size and SHA-256; what the store says about a remote one.

    A store that knows no checksum of its own has the file read and hashed. Raises DataError when it cannot be read.
    """
    if is_remote(path):
        info = _info(path)
        known = [f"{key}={info[key]}" for key in _CONTENT_KEYS if info.get(key)]
        if known:
            return f"{info['size']} {' '.join(known)}"
    digest, size = hashlib.sha256(), 0
    try:
        with fsspec.open(path, "rb") if is_remote(path) else open(path, "rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
                size += len(chunk)
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error}") from error
    return f"{size} sha256={digest.hexdigest()}"


def _find_local(owner: str, path: str) -> dict[str, str]:
    place = Path(path).expanduser()
    if place.is_dir():
        raise DataError(f"{owner}: {path} is a folder; name its files, e.g. {path.rstrip('/')}/*")
    if place.exists():
        return {str(place): place.name}
    return {name: _label(str(place), name) for name in sorted(glob.glob(str(place), recursive=True)) if Path(name).is_file()}


def _find_remote(owner: str, path: str) -> dict[str, str]:
    try:
        system, inner = fsspec.core.url_to_fs(path)
        if "*" not in path:
            return {path: inner.rpartition("/")[2]} if system.isfile(inner) else {}
        found = sorted(name for name in system.glob(inner) if system.isfile(name))
        return {system.unstrip_protocol(name): _label(inner, name) for name in found}
    except (ImportError, ValueError) as error:  # the package of s3:// is missing; nobody knows xyz://
        raise DataError(f"{owner}: {path} cannot be read here: {error}") from error
    except OSError as error:
        raise DataError(f"{owner}: {path} cannot be reached: {error}") from error


def _label(pattern: str, path: str) -> str:
    return path[pattern[: pattern.find("*")].rfind("/") + 1 :]


def _info(path: str) -> dict[str, Any]:
    try:
        system, inner = fsspec.core.url_to_fs(path)
        return system.info(inner)
    except OSError as error:
        raise DataError(f"{path} cannot be reached: {error}") from error
