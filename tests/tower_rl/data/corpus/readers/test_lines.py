"""Lines and where files are cut, against Python's own splitting."""

import gzip
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tower_rl.data.corpus.readers import lines
from tower_rl.data.corpus.readers.part import BadRow
from tower_rl.data.rows import DataError


def good(path: Path, *where: int) -> list[tuple[int, str]]:
    found = list(lines.read(str(path), *where))
    assert all(isinstance(line, str) for _, line in found)
    return found


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(content=st.lists(st.sampled_from([b"\n", b"a", b"bb\n", b"\r\n"]), max_size=30).map(b"".join), every=st.integers(1, 5))
def test_cut_files_have_the_same_lines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes, every: int) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    monkeypatch.setattr(lines, "_CHUNK", 3)
    expected = [line.rstrip(b"\r").decode() for line in content.split(b"\n")]
    expected = expected if expected[-1] else expected[:-1]
    starts, count = lines.cuts(str(path), every)
    assert count == len(expected)
    assert len(starts) == max(1, -(-count // every))
    found = [line for place, start in enumerate(starts) for line in good(path, start, 1 + every * place, every)]
    assert found == list(enumerate(expected, start=1))


def test_only_a_newline_ends_a_line(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_text("a\u2028b\x0bc\x85d\n e \r\n", encoding="utf-8", newline="")
    assert good(path) == [(1, "a\u2028b\x0bc\x85d"), (2, " e ")]


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"\xef\xbb\xbfa\n\xef\xbb\xbfb\n")
    assert good(path) == [(1, "a"), (2, "\ufeffb")]


def test_bad_lines_are_said_and_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES", 5)
    monkeypatch.setattr(lines, "_CHUNK", 2)
    path = tmp_path / "file"
    path.write_bytes(b"12345\n123456\n\xe4b\nlast\n1234567")
    found = [(number, line if isinstance(line, str) else (line.reason, line.detail)) for number, line in lines.read(str(path))]
    assert found == [
        (1, "12345"),
        (2, ("read: too long line", "the line has 7 bytes; at most 5 are read")),
        (3, ("read: invalid UTF-8", "byte 1 of the line is no UTF-8: invalid continuation byte")),
        (4, "last"),
        (5, ("read: too long line", "the line has 7 bytes; at most 5 are read")),
    ]


def test_a_long_line_takes_no_memory(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(6):
            file.write(b"x" * 10_000_000)
        file.write(b"\nnext\n")
    tracemalloc.start()
    (_, long), following = lines.read(str(path))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert isinstance(long, BadRow)
    assert "60,000,001 bytes" in long.detail
    assert following == (2, "next")
    assert peak < 3 * lines.LINE_BYTES


def test_a_torn_gzip_file_says_where(tmp_path: Path) -> None:
    path = tmp_path / "file.gz"
    whole = gzip.compress(b"".join(b"%d\n" % number for number in range(100_000)))
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"file\.gz cannot be read: Compressed file ended.*, after line [1-9]\d+"):
        list(lines.read(str(path)))
    path.write_bytes(b"no gzip at all")
    with pytest.raises(DataError, match=r"Not a gzipped file .*, after line 0"):
        list(lines.read(str(path)))
