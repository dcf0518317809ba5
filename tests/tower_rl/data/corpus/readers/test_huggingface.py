"""Hugging Face data sets: saved folders and folders of data files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest

from tower_rl.data.corpus.readers import dispatch, huggingface
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.rows import DataError

Rows = Callable[..., list[dict[str, Any]]]
Parts = Callable[..., list[Part]]

TEXTS = [f"text {number}" for number in range(1, 8)]
ROWS = [{"text": text, "score": 1.0} for text in TEXTS]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")


def test_a_saved_split(tmp_path: Path, rows: Rows, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    datasets.Dataset.from_list(ROWS).save_to_disk(tmp_path / "saved")
    monkeypatch.setattr(huggingface, "PART_ROWS", 3)
    monkeypatch.setattr("tower_rl.data.corpus.readers.rows.BATCH_ROWS", 2)
    options = {"kind": "huggingface", "path": f"{tmp_path}/saved", "language": "de"}
    assert [part.starts for part in parts(**options)] == [(0,), (3,), (6,)]
    found = rows(**options)
    assert [row["text"] for row in found] == TEXTS
    assert [row["id"] for row in found] == [f"c/train:{number}" for number in range(1, 8)]
    assert {row["language"] for row in found} == {"de"}


def test_saved_splits(tmp_path: Path, rows: Rows, parts: Parts) -> None:
    made = datasets.Dataset.from_list(ROWS)
    datasets.DatasetDict({"train": made, "test": made.select([4, 2])}).save_to_disk(tmp_path / "saved")
    found = rows(kind="huggingface", path=f"{tmp_path}/saved", split="test")
    assert [(row["id"], row["text"]) for row in found] == [("c/test:1", "text 5"), ("c/test:2", "text 3")]
    with pytest.raises(DataError, match="has no split 'dev'; it has train, test"):
        parts(kind="huggingface", path=f"{tmp_path}/saved", split="dev")


def test_a_folder_of_data_files(tmp_path: Path, rows: Rows, parts: Parts) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    chat = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Ho"}]
    lines = [{"messages": chat}, {"messages": chat[:1]}]
    (folder / "train.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = rows(kind="huggingface", path=str(folder))
    assert [(row["kind"], row["dropped"]) for row in found] == [("chat", ""), ("", "read: broken turns")]
    assert found[0]["messages"] == chat
    assert found[1]["id"].endswith(":2")
    first = dispatch.digest(parts(kind="huggingface", path=str(folder)))
    assert dispatch.digest(parts(kind="huggingface", path=str(folder))) == first
    (folder / "train.jsonl").write_text(json.dumps(lines[0]) + "\n")
    assert dispatch.digest(parts(kind="huggingface", path=str(folder))) != first


def test_what_cannot_be_loaded(tmp_path: Path, parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "folder"
    folder.mkdir()
    with pytest.raises(DataError, match="corpus 'c': .*folder cannot be loaded"):
        parts(kind="huggingface", path=str(folder))
    (folder / "train.jsonl").write_text('{"text": "a"}\n{"text": 5, "no')
    with pytest.raises(DataError, match="corpus 'c': .*folder cannot be loaded"):
        parts(kind="huggingface", path=str(folder))
    datasets.Dataset.from_list([{"body": "a"}]).save_to_disk(tmp_path / "saved")
    with pytest.raises(DataError, match="saved has none of the columns messages"):
        parts(kind="huggingface", path=f"{tmp_path}/saved")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    with pytest.raises(DataError, match="nobody/nothing cannot be loaded"):
        parts(kind="huggingface", path="nobody/nothing")
