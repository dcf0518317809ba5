"""Line-aligned files."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tower_rl.data.corpus.readers import lines
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.rows import DataError

Rows = Callable[..., list[dict[str, Any]]]
Parts = Callable[..., list[Part]]

ENGLISH = b"one\ntwo\n\nthree\n\nfour\nfive\nsix"
GERMAN = b"eins\nzwei\n \n\ndrei\nvier\n\xff\nsechs\n"
DOCUMENTS = b"a\na\na\na\na\nb\nb\n\n"


@pytest.fixture
def options(tmp_path: Path) -> dict[str, object]:
    (tmp_path / "text.en").write_bytes(ENGLISH)
    (tmp_path / "text.de").write_bytes(GERMAN)
    (tmp_path / "text.docs").write_bytes(DOCUMENTS)
    return {
        "kind": "aligned",
        "path": f"{tmp_path}/text.en",
        "target_path": f"{tmp_path}/text.de",
        "languages": ["en-GB", "de"],
        "documents": f"{tmp_path}/text.docs",
    }


def test_pairs_and_bad_lines(options: dict[str, Any], rows: Rows) -> None:
    found = rows(**options)
    assert [(row["id"], row["original"], row["translation"], row["document"]) for row in found if not row["dropped"]] == [
        ("c/text.en:1", "one", "eins", "c/a"),
        ("c/text.en:2", "two", "zwei", "c/a"),
        ("c/text.en:6", "four", "vier", "c/b"),
        ("c/text.en:8", "six", "sechs", ""),
    ]
    assert {row["language"] for row in found if not row["dropped"]} == {"en-de"}
    assert [row["position"] for row in found if not row["dropped"]] == [1, 2, 6, 8]
    english, german = options["path"], options["target_path"]
    assert [(row["dropped"], row["id"], row["detail"]) for row in found if row["dropped"]] == [
        ("read: empty", f"{english}:4", f"{german} is empty"),
        ("read: empty", f"{english}:5", f"{english} is empty"),
        ("read: invalid UTF-8", f"{english}:7", f"{german}: byte 1 of the line is no UTF-8: invalid start byte"),
    ]


def test_packed_files_and_parts_have_the_same_pairs(
    options: dict[str, Any], tmp_path: Path, rows: Rows, parts: Parts, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = [row for row in rows(**options) if not row["dropped"]]
    (tmp_path / "text.de.gz").write_bytes(gzip.compress(GERMAN))
    packed = options | {"target_path": f"{tmp_path}/text.de.gz"}
    assert [row for row in rows(**packed) if not row["dropped"]] == expected
    monkeypatch.setattr(lines, "PART_LINES", 3)
    assert [(part.first, part.starts) for part in parts(**options)] == [(1, (0, 0, 0)), (4, (9, 12, 6)), (7, (21, 23, 12))]
    assert len(parts(**packed)) == 1
    assert [row for row in rows(**options) if not row["dropped"]] == expected
    without = rows(**options | {"documents": None})
    assert {row["document"] for row in without} == {""}


def test_unequal_numbers_of_lines(options: dict[str, Any], tmp_path: Path, rows: Rows, parts: Parts) -> None:
    (tmp_path / "text.de").write_bytes(GERMAN + b"sieben\nacht\n")
    message = r"text\.en has 8, .*text\.de has 10, .*text\.docs has 8"
    with pytest.raises(DataError, match=f"corpus 'c': the files do not have the same number of lines: .*{message}"):
        parts(**options)
    (tmp_path / "text.de.gz").write_bytes(gzip.compress(GERMAN + b"sieben\nacht\n"))
    found = rows(**options | {"target_path": f"{tmp_path}/text.de.gz"})
    assert sum(not row["dropped"] for row in found) == 4
    assert (found[-1]["dropped"], found[-1]["id"]) == ("read: unequal line counts", f"{tmp_path}/text.en:9")
    assert "text.en has 8, " in found[-1]["detail"]
    assert "text.de.gz has 10, " in found[-1]["detail"]


def test_configurations_that_are_none(options: dict[str, Any], tmp_path: Path, parts: Parts) -> None:
    with pytest.raises(DataError, match=r"text\.\* means 3 files; an aligned corpus has one for each language"):
        parts(**options | {"path": f"{tmp_path}/text.*"})
    with pytest.raises(DataError, match=r"there is no file .*text\.fr"):
        parts(**options | {"target_path": f"{tmp_path}/text.fr"})
    with pytest.raises(DataError, match="'German' is no language tag"):
        parts(**options | {"languages": ["en", "German"]})
