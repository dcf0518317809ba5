"""Files of packs: what was written is read, in any order, by several processes; damage is found."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from tower_rl.data import pack_reader, pack_writer
from tower_rl.data.pack_index import Index, read_index
from tower_rl.data.pack_reader import PackReader
from tower_rl.data.pack_writer import write
from tower_rl.data.packs import Pack, PackRef
from tower_rl.data.rows import DataError

LENGTH = 32


def make(stream: str, seed: int, held_out: bool = False) -> Pack:
    random = np.random.default_rng([seed, len(stream)])
    lengths = random.integers(1, 9, random.integers(1, 5))
    trained = random.random(lengths.sum()) < 0.7
    return Pack(random.integers(0, 2**18, lengths.sum()), trained, lengths, stream, held_out)


def many(count: int) -> list[Pack]:
    """Streams in turn, every seventh pack held out; one language is none that a folder could be named by."""
    streams = ["web/de", "web/fr", "chat/", "web/../../x y"]
    return [make(streams[number % 4], number, held_out=number % 7 == 0) for number in range(count)]


def save(folder: Path, packs: list[Pack], **options: Any) -> Index:
    return write(folder, packs, **{"sequence_length": LENGTH, "dropped": {"web": {"long": 3}}, "facts": {"x": [1]}} | options)


def by_part(packs: list[Pack]) -> Iterator[tuple[Pack, PackRef]]:
    places: dict[tuple[str, bool], int] = {}
    for pack in packs:
        place = places.get((pack.stream, pack.held_out), 0)
        yield pack, PackRef(pack.stream, place, pack.tokens, int(pack.trained.sum()), pack.held_out)
        places[pack.stream, pack.held_out] = place + 1


def same(left: Pack, right: Pack) -> bool:
    arrays = all(
        np.array_equal(getattr(left, name), getattr(right, name)) and getattr(left, name).dtype == getattr(right, name).dtype
        for name in ("token_ids", "trained", "lengths")
    )
    return arrays and (left.stream, left.held_out) == (right.stream, right.held_out)


@pytest.fixture
def small_files(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four packs a row group, three row groups a file, and caches that overflow."""
    monkeypatch.setattr(pack_writer, "ROW_GROUP_TOKENS", 4 * LENGTH)
    monkeypatch.setattr(pack_writer, "FILE_ROW_GROUPS", 3)
    monkeypatch.setattr(pack_reader, "CACHED_ROW_GROUPS", 2)
    monkeypatch.setattr(pack_reader, "OPEN_FILES", 2)


def test_every_pack_is_read_in_any_order(tmp_path: Path, small_files: None) -> None:
    packs = many(300)
    save(tmp_path / "packs", packs)
    reader = PackReader(tmp_path / "packs")
    reader.verify()
    listed = list(by_part(packs))
    for number in np.random.default_rng(0).permutation(len(listed)):
        pack, ref = listed[number]
        assert same(reader.read(ref), pack)
    assert len(reader.index.training["web/de"].files) == 6  # 65 packs, 12 a file
    rows = pq.ParquetFile(tmp_path / "packs" / reader.index.training["web/de"].files[0].name)
    assert [rows.metadata.row_group(group).num_rows for group in range(rows.num_row_groups)] == [4, 4, 4]


def test_the_index_counts(tmp_path: Path) -> None:
    packs = many(100)
    index = save(tmp_path / "packs", packs)
    assert index == read_index(tmp_path / "packs")
    assert (index.sequence_length, index.dropped, index.facts) == (LENGTH, {"web": {"long": 3}}, {"x": [1]})
    for parts, held_out in ((index.training, False), (index.held_out, True)):
        assert set(parts) == {pack.stream for pack in packs if pack.held_out == held_out}
        for stream, part in parts.items():
            mine = [pack for pack in packs if (pack.stream, pack.held_out) == (stream, held_out)]
            assert part.packs == len(mine)
            assert part.documents == sum(len(pack.lengths) for pack in mine)
            assert part.tokens == sum(pack.tokens for pack in mine)
            assert part.trained_tokens == sum(int(pack.trained.sum()) for pack in mine)


def test_contents_are_the_sizes_of_all_packs(tmp_path: Path) -> None:
    packs = many(100)
    index = save(tmp_path / "packs", packs)
    contents = PackReader(tmp_path / "packs").contents()
    assert (contents.digest, contents.dropped) == (index.digest, index.dropped)
    for sides, held_out in ((contents.training, False), (contents.held_out, True)):
        for stream, sizes in sides.items():
            mine = [pack for pack in packs if (pack.stream, pack.held_out) == (stream, held_out)]
            assert sizes.tolist() == [[pack.tokens, int(pack.trained.sum())] for pack in mine]


def test_the_digest_is_that_of_the_packs_and_their_order_alone(tmp_path: Path) -> None:
    packs = many(60)
    digest = save(tmp_path / "a", packs).digest
    by_stream = sorted(packs, key=lambda pack: pack.stream)
    assert save(tmp_path / "b", by_stream, facts={"other": 1}, dropped={}).digest == digest
    assert save(tmp_path / "c", packs[::-1]).digest != digest
    assert save(tmp_path / "d", packs[:-1]).digest != digest
    flipped = Pack(packs[5].token_ids, ~packs[5].trained, packs[5].lengths, packs[5].stream, packs[5].held_out)
    assert save(tmp_path / "e", [*packs[:5], flipped, *packs[6:]]).digest != digest


def test_facts_may_be_counted_while_packs_are_made(tmp_path: Path) -> None:
    facts: dict[str, int] = {}

    def counted() -> Iterator[Pack]:
        for number in range(5):
            facts["made"] = number + 1
            yield make("web/de", number)

    index = write(tmp_path / "packs", counted(), sequence_length=LENGTH, dropped={}, facts=facts)
    assert index.facts == {"made": 5}


def test_nothing_is_left_of_a_write_that_fails(tmp_path: Path) -> None:
    def broken() -> Iterator[Pack]:
        yield from many(10)
        raise RuntimeError("the source broke")

    with pytest.raises(RuntimeError, match="the source broke"):
        write(tmp_path / "packs", broken(), sequence_length=LENGTH, dropped={}, facts={})
    longer = Pack(np.zeros(LENGTH + 1, np.int64), np.zeros(LENGTH + 1, np.bool_), np.array([LENGTH + 1]), "web/de")
    with pytest.raises(DataError, match="a pack of web/de has 33 tokens, more than sequence_length = 32"):
        save(tmp_path / "packs", [longer])
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    index = save(tmp_path / "packs", many(20), facts={"first": True})
    assert save(tmp_path / "packs", many(20), facts={"first": False}) == index
    with pytest.raises(DataError, match="is there already and has other packs"):
        save(tmp_path / "packs", many(21))
    assert read_index(tmp_path / "packs") == index
    assert [path.name for path in tmp_path.iterdir()] == ["packs"]


READ_ALL = """
import sys
from pathlib import Path
from tower_rl.data.pack_reader import PackReader
from tower_rl.data.packs import PackRef
reader = PackReader(Path(sys.argv[1]))
for place in range(int(sys.argv[2]))[:: int(sys.argv[3])]:
    print(*reader.read(PackRef("web/de", place, 0, 0)).token_ids)
"""


def test_two_processes_read_at_once(tmp_path: Path, small_files: None) -> None:
    packs = [make("web/de", seed) for seed in range(80)]
    save(tmp_path / "packs", packs)
    processes = [
        subprocess.Popen([sys.executable, "-c", READ_ALL, str(tmp_path / "packs"), "80", step], stdout=subprocess.PIPE, text=True)
        for step in ("1", "-1")
    ]
    forward, backward = (process.communicate(timeout=60)[0].splitlines() for process in processes)
    assert forward == [" ".join(map(str, pack.token_ids)) for pack in packs]
    assert backward == forward[::-1]


def test_packs_that_are_not_there(tmp_path: Path) -> None:
    save(tmp_path / "packs", [make("web/de", 1)])
    reader = PackReader(tmp_path / "packs")
    for place in (1, -1):
        with pytest.raises(IndexError, match="web/de has 1 packs, none at"):
            reader.read(PackRef("web/de", place, 1, 1))
    with pytest.raises(KeyError):
        reader.read(PackRef("web/de", 0, 1, 1, held_out=True))


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def flip(path: Path, at: int = 100) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 0xFF
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("harm", "message"), [(truncate, "has [0-9]+ bytes instead of [0-9]+"), (Path.unlink, "is missing; remove .*packs")]
)
@pytest.mark.parametrize("name", ["training-00000.parquet", "training-sizes.npy"])
def test_missing_bytes_are_seen_at_once(tmp_path: Path, name: str, harm: Callable[[Path], None], message: str) -> None:
    save(tmp_path / "packs", [make("web/de", seed) for seed in range(50)])
    harm(tmp_path / "packs" / "web%2Fde" / name)
    with pytest.raises(DataError, match=message):
        PackReader(tmp_path / "packs")


def test_altered_bytes_are_seen_when_they_are_read_and_by_verify(tmp_path: Path) -> None:
    packs = [make("web/de", seed) for seed in range(50)]
    save(tmp_path / "packs", packs)
    for name in ("training-00000.parquet", "training-sizes.npy"):
        flip(tmp_path / "packs" / "web%2Fde" / name, at=300)
        reader = PackReader(tmp_path / "packs")
        with pytest.raises(DataError, match=f"{name} is damaged: its SHA-256"):
            reader.verify()
        with pytest.raises(DataError, match=f"{name} (is damaged|cannot be read, or is damaged)"):
            reader.contents() if name.endswith("npy") else reader.read(PackRef("web/de", 0, 1, 1))
        flip(tmp_path / "packs" / "web%2Fde" / name, at=300)
    PackReader(tmp_path / "packs").verify()


def test_an_index_that_is_missing_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"has no packs: index\.json is missing"):
        PackReader(tmp_path / "nowhere")
    save(tmp_path / "packs", many(10))
    path = tmp_path / "packs" / "index.json"
    text = path.read_text()
    path.write_text(text[:-20])
    with pytest.raises(DataError, match=r"index\.json is damaged"):
        read_index(tmp_path / "packs")
    value = json.loads(text)
    value["sequence_length"] = 64
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match="its digest is not that of its parts"):
        read_index(tmp_path / "packs")


def test_no_packs_at_all(tmp_path: Path) -> None:
    index = save(tmp_path / "packs", [])
    assert index.training == index.held_out == {}
    assert PackReader(tmp_path / "packs").contents().training == {}
