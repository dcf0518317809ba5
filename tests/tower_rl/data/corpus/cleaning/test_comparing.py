"""Duplicates and decontamination against plain loops."""

import gzip
import json
import random

import numpy as np
import pytest
from corpus_rows import chat, pair, reasons, table, text
from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.data.corpus.cleaning.decontaminate import Decontaminate, evaluation_hashes
from tower_rl.data.corpus.cleaning.duplicates import (
    band_width,
    drop_losers,
    exact_keys,
    first_only,
    near_keys,
    near_losers,
    not_first,
    signatures,
)
from tower_rl.data.corpus.cleaning.shingles import shingles, units
from tower_rl.data.rows import DataError

WORDS = [f"w{n}" for n in range(40)]


def places(rows):
    return np.arange(rows.num_rows, dtype=np.uint64) * np.uint64(3) + np.uint64(7)


def runs(value, n):
    """Sets of runs of words, by the definition."""
    words = units(value)
    return {tuple(words[i : i + n]) for i in range(max(1, len(words) - n + 1))} if words else set()


def test_units():
    assert units("It's a <b>Test</b>, 42 times!") == ["it", "s", "a", "b", "test", "b", "42", "times"]
    assert units("我爱 Python 编程") == ["我", "爱", "python", "编", "程"]
    assert units("ภาษา") == ["ภ", "า", "ษ", "า"]
    assert units("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]
    assert units("... !") == []


@settings(deadline=None, max_examples=100)
@given(st.lists(st.lists(st.sampled_from("abcd"), max_size=8).map(" ".join), max_size=6), st.integers(1, 4))
def test_shingles_are_equal_exactly_where_the_runs_are(texts, n):
    found = shingles(texts, n)
    expected = [[" ".join(w[i : i + n]) for i in range(max(1, len(w) - n + 1))] if (w := units(t)) else [] for t in texts]
    assert np.diff(found.offsets).tolist() == [len(each) for each in expected]
    named = {}
    for name, value in zip([run for each in expected for run in each], found.hashes.tolist(), strict=True):
        assert named.setdefault(name, value) == value
    assert len(set(named.values())) == len(named)


def test_salts_part_equal_texts():
    first, second = (shingles(["a b c", "a b c"], 2, [5, 6]).of(row) for row in range(2))
    assert not set(first.tolist()) & set(second.tolist())


def exact(rows):
    losers = first_only(not_first(exact_keys(rows, places(rows))))
    return reasons(drop_losers(rows, places(rows), losers, "duplicates: exact"))


def test_exact_duplicates_keep_the_first():
    rows = table(
        text("a", "de"), text("b"), text("a", "en"), pair("a", "b"), pair("a", "b", "en-fr"), pair("a", "b"), chat("a", "b"),
        chat("a", "b"), text("c") | {"dropped": "x: y"}, text("c"), text("a"),
    )  # fmt: skip
    lost = "duplicates: exact"
    assert exact(rows) == ["", "", lost, "", "", lost, "", lost, "x: y", "", lost]


@given(st.lists(st.sampled_from("abcde"), max_size=30))
def test_exact_duplicates_by_a_loop(values):
    seen, expected = set(), []
    for value in values:
        expected.append("duplicates: exact" if value in seen else "")
        seen.add(value)
    assert exact(table(*map(text, values))) == expected


def test_exact_duplicates_tell_the_first_place():
    rows = table(text("a"), text("b"), text("b"), text("b"))
    losers = first_only(not_first(exact_keys(rows, places(rows))))
    assert drop_losers(rows, places(rows), losers, "d: e")["detail"].to_pylist() == ["", "", *["000000000000000a"] * 2]


def variants(seed, documents, copies):
    """Documents, each followed by copies with more and more words changed."""
    rng = random.Random(seed)
    texts = []
    for _ in range(documents):
        words = rng.choices(WORDS, k=rng.randint(20, 80))
        for changed in range(copies):
            texts.append(" ".join(rng.choice(WORDS) if i < changed else word for i, word in enumerate(words)))
    rng.shuffle(texts)
    return texts


def jaccard(one, other):
    return len(one & other) / len(one | other)


@pytest.mark.parametrize("threshold", [0.6, 0.8])
def test_near_duplicates_by_exact_jaccard(threshold):
    """Where the exact similarity to an earlier text is off the threshold by three standard errors, the answer is right."""
    texts = variants(0, 20, 10)
    rows = table(*map(text, texts))
    used, found = signatures(rows)
    keys = near_keys(found, places(rows)[used], threshold)
    at = {place: row for row, place in enumerate(places(rows).tolist())}
    losers = first_only(near_losers(keys, lambda wanted: found[[at[place] for place in wanted.tolist()]], threshold))
    lost = {at[place] for place in losers["place"].tolist()}
    sets = [runs(value, 5) for value in texts]
    clear = 0
    for row in range(len(texts)):
        best = max((jaccard(sets[row], sets[earlier]) for earlier in range(row)), default=0.0)
        if abs(best - threshold) > 0.12:
            clear += 1
            assert (row in lost) == (best > threshold), best
    assert clear > 60 and 10 < len(lost) < len(texts)
    for place, first in losers.tolist():
        assert jaccard(sets[at[place]], sets[at[first]]) > threshold - 0.12 and first < place


def test_signatures_estimate_jaccard():
    texts = variants(1, 1, 12)
    _, found = signatures(table(*map(text, texts)))
    for other in range(1, 12):
        exact_ = jaccard(runs(texts[0], 5), runs(texts[other], 5))
        assert abs((found[0] == found[other]).mean() - exact_) < 0.18


def test_pairs_of_other_languages_are_no_near_duplicates():
    long = " ".join(WORDS)
    rows = table(pair(long, long, "en-de"), pair(long, long, "en-fr"), pair(long, long, "en-de"), text("!"))
    used, found = signatures(rows)
    assert used.tolist() == [0, 1, 2]
    assert (found[0] == found[1]).mean() < 0.1 and (found[0] == found[2]).all()


def test_near_keys_split_anyhow_give_the_same():
    """What a range of keys says does not depend on the others."""
    texts = variants(2, 10, 6)
    rows = table(*map(text, texts))
    used, found = signatures(rows)
    where = places(rows)[used]
    keys = near_keys(found, where, 0.7)

    def look_up(wanted):
        return found[np.searchsorted(where, wanted)]

    whole = first_only(near_losers(keys, look_up, 0.7))
    pieces = [near_losers(keys[keys["key"] % np.uint64(5) == np.uint64(piece)], look_up, 0.7) for piece in range(5)]
    assert np.array_equal(first_only(np.concatenate(pieces)), whole) and len(whole)


def test_band_width_finds_pairs_at_the_threshold():
    for threshold in (0.3, 0.5, 0.8, 0.95):
        width = band_width(threshold)
        assert 1 - (1 - threshold**width) ** (128 // width) >= 0.99
    assert band_width(0.5) < band_width(0.9)


def naive(value, evaluation):
    """The reason, by the definition."""
    words = units(value)
    if not words:
        return ""
    if len(words) < 13:
        return "decontaminate: whole text" if any(units(e) == words for e in evaluation) else ""
    known = set().union(*(runs(e, 13) for e in evaluation if len(units(e)) >= 13))
    return "decontaminate: 13 words" if runs(value, 13) & known else ""


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10**6))
def test_decontamination_by_a_loop(tmp_path_factory, seed):
    rng = random.Random(seed)
    words = ["a", "b"]
    evaluation = [" ".join(rng.choices(words, k=rng.randint(0, 40))) for _ in range(3)]
    texts = [" ".join(rng.choices(words, k=rng.randint(0, 30))) for _ in range(20)] + evaluation + [f"x {evaluation[0]} y"]
    folder = tmp_path_factory.mktemp("evaluation")
    (folder / "e.txt").write_text("\n".join(evaluation))
    np.save(folder / "hashes.npy", evaluation_hashes([str(folder / "e.txt")]))
    assert reasons(Decontaminate(folder / "hashes.npy")(table(*map(text, texts)))) == [naive(t, evaluation) for t in texts]


LONG = "one two three four five six seven eight nine ten eleven twelve thirteen"


def test_evaluation_files(tmp_path):
    (tmp_path / "a.jsonl").write_text(json.dumps({"x": {"y": ["short one", 3]}, "z": LONG}) + "\n\n")
    with gzip.open(tmp_path / "b.txt.gz", "wt") as file:
        file.write("A plain line.\n")
    np.save(tmp_path / "hashes.npy", evaluation_hashes([str(tmp_path / "*.jsonl"), str(tmp_path / "b.txt.gz")]))
    rows = table(
        text("Short one!"), text("a short one"), pair("x", f"zero, {LONG.upper()} fourteen"), chat("no", "a plain line"),
        text("x"), text(LONG) | {"dropped": "x: y"}, text("x", "x"),
    )  # fmt: skip
    result = Decontaminate(tmp_path / "hashes.npy")(rows)
    whole = "decontaminate: whole text"
    assert reasons(result) == [whole, "", "decontaminate: 13 words", whole, "", "x: y", ""]
    assert result["detail"][2].as_py() == f"an evaluation text has {LONG!r}"


def test_evaluation_files_that_are_not_there_or_broken(tmp_path):
    with pytest.raises(DataError, match=r"decontaminate: .*matches no file"):
        evaluation_hashes([str(tmp_path / "*.jsonl")])
    (tmp_path / "a.jsonl").write_text('{"a": "b"}\n{"a": \n')
    with pytest.raises(DataError, match=r"a\.jsonl:2: "):
        evaluation_hashes([str(tmp_path / "a.jsonl")])
    (tmp_path / "b.txt.gz").write_bytes(b"no gzip")
    with pytest.raises(DataError, match=r"b\.txt\.gz cannot be read"):
        evaluation_hashes([str(tmp_path / "b.txt.gz")])
