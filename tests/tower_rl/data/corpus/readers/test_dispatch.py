"""What holds for the parts of every kind of corpus: pickling, digests, names of files."""

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import fsspec
import pytest

from tower_rl.config.corpora import AnyCorpus
from tower_rl.data.corpus.readers import dispatch, places
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.rows import DataError

Parts = Callable[..., list[Part]]


def test_every_kind_has_a_reader() -> None:
    kinds = {get_args(corpus.model_fields["kind"].annotation)[0] for corpus in get_args(get_args(AnyCorpus)[0])}
    assert set(dispatch._FORMATS) == kinds


def test_parts_travel(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n{"text": ""}\n')
    [part] = parts(kind="jsonl", path=f"{tmp_path}/a.jsonl")
    copy = pickle.loads(pickle.dumps(part))
    assert copy == part
    assert len(pickle.dumps(part)) < 1000
    assert list(dispatch.read(copy)) == list(dispatch.read(part))


def test_digests_follow_content_and_names(tmp_path: Path, parts: Parts) -> None:
    def digest(folder: str) -> str:
        return dispatch.digest(parts(kind="jsonl", path=f"{tmp_path}/{folder}/*.jsonl"))

    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        for name in ("a", "b"):
            (tmp_path / folder / f"{name}.jsonl").write_text(f'{{"text": "{name}"}}')
    first = digest("one")
    assert len(first) == 64
    assert digest("two") == first
    (tmp_path / "two" / "a.jsonl").write_text('{"text": "c"}')
    changed = digest("two")
    (tmp_path / "one" / "b.jsonl").rename(tmp_path / "one" / "c.jsonl")
    assert len({first, changed, digest("one")}) == 3


def test_digests_see_all_files_of_a_part(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "a.en").write_text("one\n")
    (tmp_path / "a.de").write_text("eins\n")
    options = {"kind": "aligned", "path": f"{tmp_path}/a.en", "target_path": f"{tmp_path}/a.de", "languages": ["en", "de"]}
    first = dispatch.digest(parts(**options))
    (tmp_path / "a.de").write_text("zwei\n")
    assert dispatch.digest(parts(**options)) != first


def test_the_identity_of_remote_files() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/readers/identity", b"a")
    first = places.identity("memory://readers/identity")
    assert first.startswith("1 sha256=")
    memory.pipe("/readers/identity", b"a")
    assert places.identity("memory://readers/identity") == first
    memory.pipe("/readers/identity", b"b")
    assert places.identity("memory://readers/identity") != first
    with pytest.raises(DataError, match="memory://readers/nothing cannot be reached"):
        places.identity("memory://readers/nothing")


def test_a_store_that_knows_a_checksum_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe("/readers/identity", b"a")
    info = memory.info
    monkeypatch.setattr(type(memory), "info", lambda self, path, **kwargs: {**info(path), "ETag": "xyz"})
    assert places.identity("memory://readers/identity") == "1 ETag=xyz"


def test_a_file_that_goes_away(tmp_path: Path, parts: Parts) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text('{"text": "a"}')
    [part] = parts(kind="jsonl", path=str(path))
    path.unlink()
    with pytest.raises(DataError, match=r"a\.jsonl cannot be read: .*No such file"):
        list(dispatch.read(part))
    with pytest.raises(DataError, match=r"a\.jsonl cannot be read: .*No such file"):
        dispatch.digest([part])


def test_names_of_files(tmp_path: Path) -> None:
    (tmp_path / "data[1].jsonl").touch()
    assert places.find("c", f"{tmp_path}/data[1].jsonl") == {f"{tmp_path}/data[1].jsonl": "data[1].jsonl"}
    (tmp_path / "x" / "y").mkdir(parents=True)
    (tmp_path / "x" / "y" / "b.txt").touch()
    (tmp_path / "a.txt").touch()
    found = places.find("c", f"{tmp_path}/**/*.txt")
    assert list(found.values()) == ["a.txt", "x/y/b.txt"]
    (tmp_path / b"bad\xff.csv".decode("utf-8", "surrogateescape")).touch()
    with pytest.raises(DataError, match=r"c: the name of the file .*bad\\udcff\.csv' is no UTF-8"):
        places.find("c", f"{tmp_path}/*.csv")
