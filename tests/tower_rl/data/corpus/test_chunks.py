"""The three stations on disk, without Ray: chunks of any size and any number of ranges say the same."""

import random

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from corpus_rows import table, text

from tower_rl.config.corpora import Cleaning
from tower_rl.data.corpus import chunks

WORDS = [f"w{n}" for n in range(30)]
CLEANING = Cleaning(near_duplicates=0.7)


def rows_of_two_parts():
    rng = random.Random(0)
    olds = [rng.choices(WORDS, k=30) for _ in range(10)]
    values = [rng.choice([rng.choices(WORDS, k=30), old := rng.choice(olds), [*old[:-1], "z"]]) for _ in range(120)]
    return [table(*(text(" ".join(v)) | {"id": f"{part}/{n}"} for n, v in enumerate(values[part::2]))) for part in range(2)]


def through(folder, rows, buckets):
    """[(id, reason)] of all rows, and the samples."""
    for name in chunks.FOLDERS:
        (folder / name).mkdir(parents=True)
    for part, whole in enumerate(rows_of_two_parts()):
        for start in range(0, whole.num_rows, rows):
            piece = whole.slice(start, rows)
            chunks.clean(folder, CLEANING, piece.append_column("place", pa.array(chunks.places(part, start, piece.num_rows))))
    for kind in ("exact", "near"):
        for bucket in range(buckets):
            chunks.compare(folder, kind, CLEANING.near_duplicates, bucket, buckets)
    names = sorted(path.stem for path in (folder / "chunks").iterdir())
    said = [chunks.finish(folder, CLEANING, [], name) for name in names]
    kept = [id_ for name in names for id_ in pq.read_table(folder / "shards" / f"{name}.parquet")["id"].to_pylist()]
    counts = sum((chunks.counts_of(each) for each in said), chunks.tally.Counts())
    return kept, counts, [chunks.named(folder, sample) for each in said for sample in each["samples"]]


@pytest.mark.parametrize(("rows", "buckets"), [(17, 1), (60, 5), (20, 8)])
def test_stations(tmp_path, rows, buckets):
    kept, counts, samples = through(tmp_path / "one", rows, buckets)
    assert (kept, counts) == through(tmp_path / "two", 60, 1)[:2]
    said = {reason: n for (_, _, what, reason), n in counts.items() if what == "dropped"}
    texts = {row["id"]: row["text"] for part in rows_of_two_parts() for row in part.to_pylist()}
    contents = list(texts.values())
    assert said["duplicates: exact"] == len(contents) - len(set(contents)) and said["duplicates: near"] > 5
    for sample in samples:
        if sample["reason"] == "duplicates: exact":
            assert texts[sample["detail"].removeprefix("of ")] == sample["text"]


def test_the_last_key_of_all_is_in_the_last_range(tmp_path):
    """2**64 - 1 is no number below the upper edge that fits into 64 bits."""
    for name in chunks.FOLDERS:
        (tmp_path / name).mkdir()
    most = 2**64 - 1
    keys = chunks.np.array([(most, 0, 1), (most, 0, 2)], chunks.KEYS)
    chunks._save(tmp_path / "exact" / "0.npy", keys)
    for bucket in range(3):
        chunks.compare(tmp_path, "exact", 0.0, bucket, 3)
    found = chunks._between(tmp_path / "exact-lost", chunks.LOSERS, 0, None)
    assert found.tolist() == [(2, 1)]
