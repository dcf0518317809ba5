"""Pivots, joined documents and terms through Ray Data: all are there, they add up, and no schedule changes them."""

import json
from collections import Counter
from itertools import pairwise

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import ray

from actors import datasets
from actors.datasets import Recipe, prepare
from tower_rl.config.corpora import AlignedCorpus, Cleaning, GettextCorpus, ParallelTasks, TextCorpus, TmxCorpus
from tower_rl.data.corpus.groups import Pairs
from tower_rl.data.corpus.readers import dispatch

pytestmark = pytest.mark.ray

UNITS = 300
LANGUAGES = ("en", "de", "fr", "es")


def words(number):
    return f"number {number} of {UNITS} units"


@pytest.fixture
def corpora(tmp_path):
    """A memory in four languages, and four documents in two."""
    variants = "".join(f'<tuv xml:lang="{code}"><seg>{code.upper()} {{}}</seg></tuv>' for code in LANGUAGES)
    units = "".join(f"<tu>{variants.replace('{}', words(number))}</tu>" for number in range(UNITS))
    (tmp_path / "memory.tmx").write_text(f'<tmx version="1.4"><header srclang="en"/><body>{units}</body></tmx>')
    (tmp_path / "a.en").write_text("".join(f"line {words(number)}\n" for number in range(UNITS)))
    (tmp_path / "a.de").write_text("".join(f"Zeile {words(number)}\n" for number in range(UNITS)))
    (tmp_path / "a.doc").write_text("".join(f"d{number // 75}\n" for number in range(UNITS)))
    return {
        "memory": TmxCorpus(kind="tmx", path=str(tmp_path / "memory.tmx")),
        "aligned": AlignedCorpus(
            kind="aligned",
            path=str(tmp_path / "a.en"),
            target_path=str(tmp_path / "a.de"),
            languages=("en", "de"),
            documents=str(tmp_path / "a.doc"),
        ),
    }


def recipe(corpora, tasks, **cleaning):
    parts = [part for name, corpus in corpora.items() for part in dispatch.files(name, corpus)]
    shares = dict.fromkeys(corpora, 0.01)
    return Recipe(parts, dispatch.tables, Cleaning(**cleaning), [], shares, Pairs(tasks, 0))


def rows_of(folder, index):
    return pa.concat_tables([pq.read_table(folder / shard["file"]) for shard in index["shards"]]).to_pylist()


def test_pivots_and_joins_are_made_and_add_up(cluster, corpora, tmp_path):
    tasks = ParallelTasks(pivots=2, document_segments=4, directions="forward")
    index = prepare(recipe(corpora, tasks), tmp_path / "p", 120)
    rows = rows_of(tmp_path / "p", index)
    by_corpus = {name: [row for row in rows if row["corpus"] == name] for name in corpora}
    assert {row["kind"] for row in rows} == {"chat"} and len({row["id"] for row in rows}) == len(rows)

    pivoted = [row for row in by_corpus["memory"] if "+" in row["id"]]
    assert len(by_corpus["memory"]) == 5 * UNITS and len(pivoted) == 2 * UNITS
    assert {row["language"] for row in pivoted} == {"de-es", "de-fr", "es-fr"}
    answers = Counter(row["messages"][1]["content"][3:] for row in pivoted)
    assert answers == {words(number): 2 for number in range(UNITS)}

    answers = [row["messages"][1]["content"].split("\n") for row in by_corpus["aligned"]]
    assert Counter(len(lines) for lines in answers).keys() == {1, 2, 3, 4}
    lines = [line for answer in answers for line in answer]
    assert sorted(lines) == sorted(f"Zeile {words(number)}" for number in range(UNITS))
    numbers = [[int(line.split()[2]) for line in answer] for answer in answers]
    assert all(b == a + 1 and a // 75 == b // 75 for run in numbers for a, b in pairwise(run))

    assert index["read"] == 4 * UNITS and index["read"] + index["made"] == index["kept"] + index["lost"]
    assert index["kept"] == len(rows) and index["lost"] == 0
    counts = index["corpora"]
    assert counts["memory"]["made"] == 2 * UNITS and counts["memory"]["languages"]["de-es"]["read"] == 0
    assert counts["aligned"]["made"] == len(answers) - UNITS < 0


@ray.remote
class Hog:
    """Takes cores and does nothing."""

    def here(self):
        pass


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.slow
def test_no_schedule_and_no_size_of_chunks_changes_them(cluster, corpora, tmp_path, monkeypatch):
    tasks = ParallelTasks(pivots=1, document_segments=3, tasks={"translate": 1.0, "terminology": 1.0})
    monkeypatch.setattr(datasets, "BUCKET_BYTES", 50_000)  # several buckets
    index = prepare(recipe(corpora, tasks), tmp_path / "one", 120)
    hog = Hog.options(num_cpus=ray.cluster_resources()["CPU"] - 1).remote()  # leaves one core
    ray.get(hog.here.remote(), timeout=60)
    prepare(recipe(corpora, tasks), tmp_path / "two", 120)
    ray.kill(hog)
    assert files(tmp_path / "one") == files(tmp_path / "two")
    assert len(index["shards"]) > 10
    assert {path.name for path in (tmp_path / "one").iterdir()} == {"shards", "index.json", "dropped.jsonl", "rejects.jsonl"}
    monkeypatch.setattr(datasets, "CHUNK_BYTES", 20_000)
    other = prepare(recipe(corpora, tasks), tmp_path / "three", 120)
    assert rows_of(tmp_path / "three", other) == rows_of(tmp_path / "one", index)
    monkeypatch.setattr(datasets, "BUCKET_BYTES", 2**40)  # one bucket: the same rows in another order
    last = prepare(recipe(corpora, tasks), tmp_path / "four", 120)
    keyed = [sorted(json.dumps(row) for row in rows_of(tmp_path / n, i)) for n, i in (("one", index), ("four", last))]
    assert keyed[0] == keyed[1]


def test_terms_come_from_the_whole_of_the_corpus(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(datasets, "CHUNK_BYTES", 100_000)  # terms and sentences are in different chunks
    django = {"django": GettextCorpus(kind="gettext", package="django", languages=["de", "fr"])}
    tasks = ParallelTasks(directions="forward", tasks={"terminology": 1.0})
    index = prepare(recipe(django, tasks), tmp_path / "p", 120)
    chats = [row for row in rows_of(tmp_path / "p", index) if row["id"].endswith("#terminology")]
    assert len(chats) > 50 and len(index["shards"]) > 1
    uses = [row["messages"] for row in chats if "Passwort" in row["messages"][0]["content"]]
    assert uses and all("Passwort" in answer["content"] for _, answer in uses)
    assert index["read"] + index["made"] == index["kept"] + index["lost"]


def test_no_pairs_at_all(cluster, tmp_path):
    (tmp_path / "t.txt").write_text("a text that is none\n")
    corpora = {"t": TextCorpus(kind="text", path=str(tmp_path / "t.txt"), language="en")}
    tasks = ParallelTasks(pivots=1, document_segments=3, tasks={"terminology": 1.0})
    index = prepare(recipe(corpora, tasks), tmp_path / "p", 120)
    assert (index["kept"], index["made"]) == (1, 0)
