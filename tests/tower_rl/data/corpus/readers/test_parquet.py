"""Parquet files."""

import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pytest
from pyarrow import parquet

from tower_rl.data.corpus.readers import dispatch
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.rows import DataError

Rows = Callable[..., list[dict[str, Any]]]
Parts = Callable[..., list[Part]]


def write(path: Path, rows: list[dict[str, Any]], group: int = 2) -> None:
    parquet.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)


def test_rows_of_row_groups(tmp_path: Path, rows: Rows, parts: Parts) -> None:
    texts = [f"text {number}" for number in range(1, 6)]
    write(tmp_path / "a.parquet", [{"text": text, "image": b"\xff", "score": 0.5} for text in texts])
    options = {"kind": "parquet", "path": f"{tmp_path}/*.parquet", "language": "de"}
    assert [(part.starts, part.first, part.count) for part in parts(**options)] == [((0,), 1, 2), ((1,), 3, 2), ((2,), 5, 1)]
    found = rows(**options)
    assert [row["text"] for row in found] == texts
    assert [row["id"] for row in found] == [f"c/a.parquet:{number}" for number in range(1, 6)]
    assert {(row["language"], row["dropped"]) for row in found} == {("de", "")}


def test_nested_shapes_with_nulls(tmp_path: Path, rows: Rows) -> None:
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    write(
        tmp_path / "a.parquet",
        [
            {"messages": turns, "translation": None, "text": None, "id": 7},
            {"messages": None, "translation": {"en": "Hi", "de": "Hallo", "fr": None}, "text": None, "id": None},
            {"messages": None, "translation": {"en": None, "de": None, "fr": "Salut"}, "text": None, "id": 9},
            {"messages": None, "translation": None, "text": None, "id": 10},
        ],
    )
    found = rows(kind="parquet", path=f"{tmp_path}/a.parquet")
    assert [row["kind"] for row in found] == ["chat", "pair", "", ""]
    assert found[0]["messages"] == turns
    assert found[0]["id"] == "c/a.parquet:1#7"
    assert (found[1]["language"], found[1]["translation"]) == ("en-de", "Hallo")
    assert [(row["id"], row["dropped"]) for row in found[2:]] == [
        (f"{tmp_path}/a.parquet:3", "read: wrong type"),
        (f"{tmp_path}/a.parquet:4", "read: missing field"),
    ]


def test_text_that_is_no_utf8_takes_no_neighbour_with_it(tmp_path: Path, rows: Rows) -> None:
    raw = pa.array([b"good", b"b\xffd", b"fine"], pa.binary())
    table = pa.table({"text": pa.Array.from_buffers(pa.string(), 3, raw.buffers())})
    parquet.write_table(table, tmp_path / "a.parquet")
    found = rows(kind="parquet", path=f"{tmp_path}/a.parquet")
    assert [(row["text"], row["dropped"]) for row in found] == [("good", ""), ("", "read: invalid UTF-8"), ("fine", "")]
    assert (found[1]["id"], found[1]["detail"]) == (f"{tmp_path}/a.parquet:2", "byte 2 of a text is no UTF-8: invalid start byte")


def test_remote_files(tmp_path: Path, rows: Rows) -> None:
    write(tmp_path / "a.parquet", [{"text": "a"}, {"text": "b"}, {"text": "c"}])
    fsspec.filesystem("memory").pipe("/readers/parquet/a.parquet", (tmp_path / "a.parquet").read_bytes())
    found = rows(kind="parquet", path="memory://readers/parquet/*.parquet")
    assert [(row["id"], row["text"]) for row in found] == [("c/a.parquet:1", "a"), ("c/a.parquet:2", "b"), ("c/a.parquet:3", "c")]


def test_files_that_are_none(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "a.parquet").write_bytes(b"PAR1 but not really PAR1")
    with pytest.raises(DataError, match=r"a\.parquet cannot be read as parquet"):
        parts(kind="parquet", path=f"{tmp_path}/a.parquet")
    write(tmp_path / "b.parquet", [{"body": "a"}])
    with pytest.raises(DataError, match=r"corpus 'c': .*b\.parquet has none of the columns messages, conversations"):
        parts(kind="parquet", path=f"{tmp_path}/b.parquet")


def test_a_torn_page_is_an_error(tmp_path: Path, parts: Parts) -> None:
    path = tmp_path / "a.parquet"
    write(path, [{"text": f"{number:04}" * 50} for number in range(500)], group=500)
    content = bytearray(path.read_bytes())
    content[4:60] = b"\xff" * 56
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.parquet cannot be read"):
        [list(dispatch.read(part)) for part in parts(kind="parquet", path=str(path))]


def test_memory_does_not_grow_with_the_row_group(tmp_path: Path, parts: Parts) -> None:
    path = tmp_path / "a.parquet"
    batch = pa.table({"text": ["%06d" % number + "word " * 400 for number in range(1000)]})
    with parquet.ParquetWriter(path, batch.schema, use_dictionary=False, compression="none") as writer:
        writer.write_table(pa.concat_tables([batch] * 40), row_group_size=40_000)
    [part] = parts(kind="parquet", path=str(path))
    assert path.stat().st_size > 80_000_000
    before = pa.default_memory_pool().max_memory()
    tracemalloc.start()
    assert sum(table.num_rows for table in dispatch.tables(part, rows=100)) == 40_000
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000
    assert before > 80_000_000  # the table that was written; reading must not come near it
    assert pa.default_memory_pool().bytes_allocated() < 20_000_000
