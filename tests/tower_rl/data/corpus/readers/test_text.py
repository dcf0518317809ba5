"""Plain text."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tower_rl.data.corpus.readers import lines

Rows = Callable[..., list[dict[str, Any]]]

CONTENT = "one\r\ntwo\n\n \nthree\n\n\nfour\nfive\n"


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        ("line", [(1, "one"), (2, "two"), (5, "three"), (8, "four"), (9, "five")]),
        ("block", [(1, "one\ntwo"), (5, "three"), (8, "four\nfive")]),
        ("file", [(1, "one\ntwo\n\n \nthree\n\n\nfour\nfive")]),
    ],
)
def test_documents(tmp_path: Path, rows: Rows, document: str, expected: list[tuple[int, str]]) -> None:
    (tmp_path / "a.txt").write_text(CONTENT, newline="")
    (tmp_path / "a.txt.gz").write_bytes(gzip.compress(CONTENT.encode()))
    for name in ("a.txt", "a.txt.gz"):
        found = rows(kind="text", path=f"{tmp_path}/{name}", language="de-DE", document=document)
        assert [(row["id"], row["text"]) for row in found] == [(f"c/{name}:{number}", text) for number, text in expected]
        assert {(row["kind"], row["language"], row["dropped"], row["document"]) for row in found} == {("text", "de", "", "")}


@pytest.mark.parametrize(
    ("document", "kept", "dropped"),
    [
        ("line", ["one", "two", "four"], [("read: invalid UTF-8", 4), ("read: too long line", 6)]),
        ("block", ["one"], [("read: invalid UTF-8", 4), ("read: too long line", 6)]),
        ("file", [], [("read: invalid UTF-8", 4)]),
    ],
)
def test_bad_lines(
    tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch, document: str, kept: list[str], dropped: list[tuple[str, int]]
) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES", 10)
    path = tmp_path / "a.txt"
    path.write_bytes(b"one\n\ntwo\n\xff\n\n" + b"x" * 11 + b"\nfour\n")
    found = rows(kind="text", path=str(path), language="en", document=document)
    assert [row["text"] for row in found if not row["dropped"]] == kept
    assert [(row["dropped"], row["id"]) for row in found if row["dropped"]] == [
        (reason, f"{path}:{number}") for reason, number in dropped
    ]


def test_documents_have_a_bound(tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lines, "LINE_BYTES", 10)
    path = tmp_path / "a.txt"
    path.write_text("x\n\n" + "word\n" * 3 + "\nlast")
    found = rows(kind="text", path=str(path), language="en", document="block")
    assert [(row["text"], row["dropped"]) for row in found] == [("x", ""), ("", "read: too long document"), ("last", "")]
    assert found[1]["id"] == f"{path}:3"


def test_an_empty_file(tmp_path: Path, rows: Rows) -> None:
    path = tmp_path / "a.txt"
    path.write_text("\n \n")
    assert rows(kind="text", path=str(path), language="en") == []
    assert rows(kind="text", path=str(path), language="en", document="block") == []
    [whole] = rows(kind="text", path=str(path), language="en", document="file")
    assert whole["dropped"] == "read: empty"


def test_lines_of_parts(tmp_path: Path, rows: Rows, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.txt").write_text(CONTENT)
    expected = rows(kind="text", path=f"{tmp_path}/a.txt", language="de")
    monkeypatch.setattr(lines, "PART_LINES", 2)
    assert rows(kind="text", path=f"{tmp_path}/a.txt", language="de") == expected
