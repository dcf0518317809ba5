"""JSON lines: positions, bad lines, gzip, remote files, cuts, memory."""

import gzip
import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pytest

from tower_rl.data.corpus.readers import dispatch, lines
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.rows import DataError

Rows = Callable[..., list[dict[str, Any]]]
Parts = Callable[..., list[Part]]

LINES = [
    b'{"text": "Hallo"}',
    b"",
    b"  ",
    b'{"text": "Hal',
    b'{"text": "\xff"}',
    b'{"text": "\\ud800"}',
    b'{"title": "a"}',
    b'{"text": ""}',
    b"[" * 100_000,
    b'{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}], "licence": "MIT"}',
]
DROPPED = {
    4: "read: broken JSON",
    5: "read: invalid UTF-8",
    6: "read: invalid UTF-8",
    7: "read: missing field",
    8: "read: empty",
    9: "read: broken JSON",
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(b"\n".join(LINES))
    return path


def test_rows_and_bad_rows_in_the_order_of_the_file(path: Path, rows: Rows) -> None:
    found = rows(kind="jsonl", path=str(path), language="de", licence="CC0-1.0")
    assert [row["id"] for row in found] == ["c/rows.jsonl:1", *(f"{path}:{line}" for line in DROPPED), "c/rows.jsonl:10"]
    assert [row["dropped"] for row in found] == ["", *DROPPED.values(), ""]
    assert all(row["corpus"] == "c" and bool(row["detail"]) == bool(row["dropped"]) for row in found)
    assert found[1]["detail"].startswith("broken JSON: Unterminated string starting at: line 1 column 10")
    assert (found[0]["kind"], found[0]["language"], found[0]["licence"], found[0]["messages"]) == ("text", "de", "CC0-1.0", [])
    assert (found[-1]["kind"], found[-1]["licence"], found[-1]["position"]) == ("chat", "MIT", 10)
    assert [message["content"] for message in found[-1]["messages"]] == ["Hi", "Ho"]


def test_packed_and_remote_files_have_the_same_rows(path: Path, tmp_path: Path, rows: Rows) -> None:
    expected = rows(kind="jsonl", path=str(path))
    content = gzip.compress(path.read_bytes())
    (tmp_path / "rows.jsonl.gz").write_bytes(content)
    memory = fsspec.filesystem("memory")
    memory.pipe("/readers/deep/rows.jsonl.gz", content)
    memory.pipe("/readers/deep/rows.jsonl", path.read_bytes())
    for place in (f"{tmp_path}/rows.jsonl.gz", "memory://readers/deep/rows.jsonl", "memory://readers/deep/*.jsonl.gz"):
        found = rows(kind="jsonl", path=place)
        assert [row["dropped"] for row in found] == [row["dropped"] for row in expected]
        assert [row["text"] for row in found] == [row["text"] for row in expected]
        assert found[-1]["id"] == f"c/{place.rpartition('/')[2].replace('*', 'rows')}:10"


def test_a_large_file_is_read_in_parts(path: Path, rows: Rows, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = rows(kind="jsonl", path=str(path))
    monkeypatch.setattr(lines, "PART_LINES", 3)
    made = parts(kind="jsonl", path=str(path))
    assert [(part.first, part.count) for part in made] == [(1, 3), (4, 3), (7, 3), (10, 3)]
    assert rows(kind="jsonl", path=str(path)) == expected
    assert [row["id"] for table in dispatch.tables(made[3]) for row in table.to_pylist()] == ["c/rows.jsonl:10"]


def test_ids_stay_when_the_corpus_moves_or_grows(tmp_path: Path, rows: Rows) -> None:
    for folder in ("a/de", "a/fr", "b/de"):
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "x.jsonl").write_text(f'{{"text": "{folder}"}}')
    two = rows(kind="jsonl", path=f"{tmp_path}/a/*/x.jsonl")
    one = rows(kind="jsonl", path=f"{tmp_path}/b/*/x.jsonl")
    assert [row["id"] for row in two] == ["c/de/x.jsonl:1", "c/fr/x.jsonl:1"]
    assert [row["id"] for row in one] == ["c/de/x.jsonl:1"]


def test_a_megabyte_line_is_a_row(tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(
        json.dumps({"text": "x" * 1_000_000}) + "\n" + json.dumps({"text": "y" * lines.LINE_BYTES}) + '\n{"text": "z"}'
    )
    found = rows(kind="jsonl", path=str(path))
    assert [(len(row["text"]), row["dropped"]) for row in found] == [(1_000_000, ""), (0, "read: too long line"), (1, "")]


def test_tables_are_closed_by_rows_and_by_characters(tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps({"text": "x" * size}) + "\n" for size in [10, 10, 10, 50, 10, 100, 100]))
    [part] = parts(kind="jsonl", path=str(path))
    monkeypatch.setattr(dispatch, "TABLE_CHARACTERS", 60)
    assert [table.num_rows for table in dispatch.tables(part)] == [4, 2, 1]
    assert [table.num_rows for table in dispatch.tables(part, rows=2)] == [2, 2, 2, 1]


def test_memory_does_not_grow_with_the_file(tmp_path: Path, parts: Parts) -> None:
    path = tmp_path / "rows.jsonl.gz"
    line = json.dumps({"text": "word " * 2000}).encode() + b"\n"
    with gzip.open(path, "wb", compresslevel=1) as file:
        for _ in range(3_000):
            file.write(line)
    [part] = parts(kind="jsonl", path=str(path))
    tracemalloc.start()
    assert sum(table.num_rows for table in dispatch.tables(part, rows=100)) == 3_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert 3_000 * len(line) > 30_000_000
    assert peak < 8_000_000


def test_configurations_that_name_nothing(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "a.jsonl").touch()
    for place, message in {
        f"{tmp_path}/b.jsonl": "corpus 'c': there is no file .*b.jsonl",
        f"{tmp_path}/*.json": "corpus 'c': .* matches no file",
        f"{tmp_path}": "is a folder; name its files",
        "memory://nothing/here.jsonl": "there is no file memory://nothing/here.jsonl",
        "s3://bucket/file.jsonl": "s3://bucket/file.jsonl cannot be read here: .*s3fs",
        "nosuch://bucket/file.jsonl": "cannot be read here: .*nosuch",
    }.items():
        with pytest.raises(DataError, match=message):
            parts(kind="jsonl", path=place)
    with pytest.raises(DataError, match="corpus 'c': 'German' is no language tag"):
        parts(kind="jsonl", path=f"{tmp_path}/a.jsonl", language="German")
