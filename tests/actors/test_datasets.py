"""Corpora through Ray Data: the same result whatever the number of cores, nothing lost, nothing half done."""

import hashlib
import json
import os
import random
import socket
import sys
import time
from collections import Counter
from dataclasses import replace
from functools import partial

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray
from corpus_rows import pair, table, text

from actors import datasets
from actors.datasets import Recipe, prepare
from tower_rl.config.corpora import Cleaning, Quality
from tower_rl.data.corpus.records import RECORDS
from tower_rl.data.rows import DataError
from tower_rl.protocols import DeadlineExceeded, WorkerLost
from verifiers.registry import UnknownVerifier

pytestmark = pytest.mark.ray
for module in (__name__, "corpus_rows"):  # workers cannot import these files
    ray.cloudpickle.register_pickle_by_value(sys.modules[module])

WORDS = [f"word{n}" for n in range(50)]
CLEANING = Cleaning(near_duplicates=0.7)


def made_up(part):
    """Two tables of 50 rows of a part: new texts, copies of texts of the first parts, bad rows."""
    rng = random.Random(f"rows {part}")
    rows = []
    for number in range(100):
        old = random.Random(f"text {rng.randrange(40)}").choices(WORDS, k=40)
        words = rng.choice([rng.choices(WORDS, k=30), old, [*old[:-1], "other"], ["x"]])
        row = text(" ".join(words), "en") if number % 7 else pair(" ".join(words), " ".join(words[::-1]), "en-de")
        bad = {"dropped": "read: broken JSON", "detail": f"part {part}, line {number}"} if number == 13 else {}
        rows.append(row | bad | {"id": f"{part}/{number}", "corpus": "ab"[part % 2]})
    yield table(*rows[:50])
    yield table(*rows[50:])


def recipe(parts=6, read=made_up, **rest):
    return Recipe(
        **{"parts": list(range(parts)), "read": read, "cleaning": CLEANING, "make": [], "max_rejects": {"a": 0.02, "b": 0.02}}
        | rest
    )


def rows_of(folder, index):
    return pa.concat_tables([pq.read_table(folder / shard["file"]) for shard in index["shards"]]).to_pylist()


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_rows_come_in_order_and_add_up(cluster, tmp_path):
    folder = tmp_path / "prepared"
    index = prepare(recipe(), folder, 120)
    rows = rows_of(folder, index)
    ids = [row["id"] for row in rows]
    order = [f"{part}/{number}" for part in range(6) for number in range(100)]
    assert ids == [id_ for id_ in order if id_ in set(ids)] and len(ids) == index["kept"]
    assert index["read"] == 600 == index["kept"] + index["lost"] and index["made"] == 0
    assert index["dropped"]["read: broken JSON"] == 6 and index["dropped"]["duplicates: exact"] > 50
    assert index["dropped"]["duplicates: near"] > 10 and index["dropped"]["length: too short"] > 50
    assert sum(corpus["kept"] for corpus in index["corpora"].values()) == index["kept"]
    assert Counter(row["language"] for row in rows if row["corpus"] == "a") == {
        language: counts["kept"] for language, counts in index["corpora"]["a"]["languages"].items()
    }
    assert [(row["id"], row["detail"]) for row in lines_of(folder / "rejects.jsonl")] == [
        (f"{part}/13", f"part {part}, line 13") for part in range(6)
    ]
    assert not list(tmp_path.glob(".*"))


def test_the_first_of_equal_rows_is_kept(cluster, tmp_path):
    folder = tmp_path / "prepared"
    index = prepare(recipe(cleaning=Cleaning()), folder, 120)
    seen, expected = set(), []
    for row in (row for part in range(6) for half in made_up(part) for row in half.to_pylist()):
        content = row["kind"], row["text"], row["original"]
        if not row["dropped"] and len(row["text"] or row["original"]) > 1 and content not in seen:
            expected.append(row["id"])
            seen.add(content)
    assert [row["id"] for row in rows_of(folder, index)] == expected
    samples = [row for row in lines_of(folder / "dropped.jsonl") if row["reason"] == "duplicates: exact"]
    texts = {row["id"]: row["text"] for part in range(6) for half in made_up(part) for row in half.to_pylist()}
    assert len(samples) == 40
    assert all(texts[row["detail"].removeprefix("of ")] == texts[row["id"]] for row in samples)


def digest(folder):
    """Of all files by name."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@ray.remote
class Hog:
    """Takes cores and does nothing."""

    def here(self):
        pass


def slow_made_up(part):
    """The same, the first parts last."""
    time.sleep(max(0, 3 - part) * 0.5)
    return made_up(part)


@pytest.mark.slow
def test_the_result_depends_on_no_schedule(cluster, tmp_path, monkeypatch):
    prepare(recipe(), tmp_path / "one", 120)
    hog = Hog.options(num_cpus=ray.cluster_resources()["CPU"] - 1).remote()  # leaves one core
    ray.get(hog.here.remote(), timeout=60)
    prepare(recipe(), tmp_path / "two", 120)
    ray.kill(hog)
    monkeypatch.setattr(datasets, "KEYS_A_BUCKET", 100)
    prepare(recipe(read=slow_made_up), tmp_path / "three", 120)
    assert digest(tmp_path / "one") == digest(tmp_path / "two") == digest(tmp_path / "three")


def test_chunks_of_any_size_give_the_same_rows(cluster, tmp_path, monkeypatch):
    first = prepare(recipe(), tmp_path / "one", 120)
    monkeypatch.setattr(datasets, "CHUNK_BYTES", 3000)
    second = prepare(recipe(), tmp_path / "two", 120)
    assert len(second["shards"]) > len(first["shards"])
    assert rows_of(tmp_path / "one", first) == rows_of(tmp_path / "two", second)
    assert {**first, "shards": []} == {**second, "shards": []}
    for name in ("dropped.jsonl", "rejects.jsonl"):
        assert (tmp_path / "one" / name).read_text() == (tmp_path / "two" / name).read_text()


def test_what_is_there_is_taken(cluster, tmp_path):
    first = prepare(recipe(), tmp_path / "prepared", 120)
    assert prepare(replace(recipe(), parts=[], read=None), tmp_path / "prepared", 120) == first


def test_bad_rows_stop_the_run_and_leave_nothing(cluster, tmp_path):
    with pytest.raises(DataError) as error:
        prepare(recipe(max_rejects={"a": 0.02, "b": 0.009}), tmp_path / "prepared", 120)
    lines = str(error.value).splitlines()
    assert lines[0] == "corpus 'b': 3 of 300 rows are bad, more than max_rejects = 0.009:"
    assert lines[1:] == [f"  {part}/13: broken JSON: part {part}, line 13" for part in (1, 3, 5)]
    assert not list(tmp_path.iterdir())


def unreadable(part):
    raise DataError(f"corpus 'a': file {part} cannot be read: no such file")
    yield


def refuse(rows):
    raise DataError("no more")


def test_errors_arrive_as_themselves(cluster, tmp_path):
    with pytest.raises(DataError) as error:
        prepare(recipe(1, read=unreadable), tmp_path / "prepared", 120)
    assert str(error.value) == "corpus 'a': file 0 cannot be read: no such file"
    with pytest.raises(DataError, match="there is no file"):
        prepare(recipe(cleaning=Cleaning(decontaminate=[str(tmp_path / "none")])), tmp_path / "prepared", 120)
    with pytest.raises(UnknownVerifier, match="no verifier 'nobody'"):
        prepare(recipe(cleaning=Cleaning(quality=Quality(use="nobody", minimum=0.5))), tmp_path / "prepared", 120)
    with pytest.raises(DataError, match=r"^no more$"):
        prepare(recipe(make=[refuse]), tmp_path / "prepared", 120)
    assert not list(tmp_path.iterdir())


def endless(part):
    time.sleep(60)
    yield table(text("late"))


def test_deadline(cluster, tmp_path):
    with pytest.raises(DeadlineExceeded, match="reading and cleaning after 5 s without progress"):
        prepare(recipe(1, read=endless), tmp_path / "prepared", 5)


def test_parts_without_rows(cluster, tmp_path):
    index = prepare(recipe(2, read=lambda part: iter([])), tmp_path / "prepared", 120)
    assert (index["read"], index["shards"]) == (0, [])


def halves(rows):
    """Joins the rows two by two, and drops each third."""
    rows = rows.take(list(range(0, rows.num_rows, 2)))
    dropped = pa.array(["" if n % 3 else "make: third" for n in range(rows.num_rows)], pa.string())
    return rows.set_column(RECORDS.get_field_index("dropped"), "dropped", dropped)


def test_functions_behind_cleaning(cluster, tmp_path):
    quality = Quality(use="length", options={"target": 30}, minimum=0.9)
    clean = prepare(recipe(1, cleaning=Cleaning(quality=quality)), tmp_path / "clean", 120)
    made = prepare(recipe(1, cleaning=Cleaning(quality=quality), make=[halves]), tmp_path / "made", 120)
    assert clean["dropped"]["quality: low score"] == made["dropped"]["quality: low score"] > 0
    joined = -(-clean["kept"] // 2)
    assert made["made"] == joined - clean["kept"] and made["dropped"]["make: third"] == -(-joined // 3)
    assert made["kept"] == len(rows_of(tmp_path / "made", made)) == joined - -(-joined // 3)


def dying(marker, part):
    """The rows of `made_up`; the process that reads part 2 for the first time dies on the way."""
    first, second = made_up(part)
    yield first
    if part == 2 and not marker.exists():
        marker.touch()
        os._exit(1)
    yield second


def deadly(part):
    os._exit(1)
    yield


def test_a_worker_that_is_lost_again_and_again(cluster, tmp_path):
    with pytest.raises(WorkerLost, match="reading and cleaning: a worker is lost"):
        prepare(recipe(1, read=deadly), tmp_path / "prepared", 120)


def test_a_lost_worker_changes_nothing(cluster, tmp_path):
    prepare(recipe(), tmp_path / "one", 120)
    prepare(recipe(read=partial(dying, tmp_path / "died")), tmp_path / "two", 120)
    assert (tmp_path / "died").exists() and digest(tmp_path / "one") == digest(tmp_path / "two")


def test_killed_preparations_are_tidied_up(cluster, tmp_path):
    left = tmp_path / f".prepared.{socket.gethostname()}.999999999.partial"
    left.mkdir()
    prepare(recipe(1), tmp_path / "prepared", 120)
    assert not left.exists()


def many(part):
    """20,000 new rows."""
    for start in range(0, 20_000, 2_000):
        yield table(
            *({"text": f"{part} {n} " + " ".join(WORDS[n % 40 :]), "id": f"{part}/{n}"} for n in range(start, start + 2_000))
        )


def private_memory():
    """Of this process, in MiB."""
    memory = psutil.Process().memory_info()
    return (memory.rss - memory.shared) / 2**20


def test_the_drivers_memory_does_not_grow_with_the_rows(cluster, tmp_path):
    def run(parts):
        before = private_memory()
        index = prepare(recipe(parts, read=many, cleaning=Cleaning(), max_rejects={}), tmp_path / str(parts), 120)
        assert index["read"] == parts * 20_000
        return private_memory() - before

    run(1)  # imports and caches
    run(1)
    assert run(8) < 30  # the rows are 50 MB
