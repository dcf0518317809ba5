"""Pairs through a parquet file and back, and files that hold none."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preference_rows import candidate, candidates, pair

from tower_rl.data.preference.table import CANDIDATES, PAIRS, read_candidates, read_pairs, write_candidates, write_pairs
from tower_rl.data.preference.types import Candidate, Candidates, Pair
from tower_rl.data.rows import DataError
from tower_rl.types import Prompt, StopReason

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=6)
NUMBERS = st.floats(allow_nan=False)
IDS = st.lists(st.integers(0, 2**31 - 1), max_size=5).map(tuple)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | NUMBERS | st.text(max_size=4),  # with lone surrogates
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
ROLES = st.sampled_from(["system", "user", "assistant"])
MESSAGES = st.lists(st.fixed_dictionaries({"role": ROLES, "content": TEXT}), max_size=3).map(tuple)
PROMPT = st.builds(
    Prompt,
    id=TEXT,
    messages=MESSAGES,
    token_ids=IDS,
    verifier=TEXT,
    reference=JSON,
    meta=st.dictionaries(TEXT, JSON, max_size=2),
    source=TEXT,
    cursor=st.integers(-5, 2**60),
    language_pair=st.none() | TEXT,
)
CANDIDATE = st.builds(
    Candidate,
    text=TEXT,
    token_ids=IDS,
    origin=TEXT,
    scores=st.dictionaries(TEXT, NUMBERS, max_size=2),
    score=st.none() | NUMBERS,
    reason=TEXT,
    stop_reason=st.sampled_from(StopReason),
)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.builds(Pair, PROMPT, CANDIDATE, CANDIDATE), max_size=3), st.integers(0, 9))
def test_what_is_written_is_read(pairs: list[Pair], round_: int) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "p.parquet"
        write_pairs(path, pairs, round_)
        table = pq.read_table(path)
        assert table.schema == PAIRS and table["round"].to_pylist() == [round_] * len(pairs)
        assert list(read_pairs(path)) == pairs


@settings(deadline=None, max_examples=30)
@given(st.lists(st.builds(Candidates, PROMPT, st.lists(CANDIDATE, max_size=3).map(tuple)), max_size=3))
def test_candidates_that_are_written_are_read(listed: list[Candidates]) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / "c.parquet"
        write_candidates(path, listed)
        assert pq.read_schema(path) == CANDIDATES
        assert list(read_candidates(path)) == listed


def test_cut_answers_stay_cut(tmp_path: Path) -> None:
    listed = [candidates(candidate("whole", 1.0), candidate("cut", stop_reason=StopReason.LENGTH, reason="not scored"))]
    write_candidates(tmp_path / "c.parquet", listed)
    (row,) = pq.read_table(tmp_path / "c.parquet").to_pylist()
    assert [answer["stop_reason"] for answer in row["answers"]] == ["stop", "length"]
    assert list(read_candidates(tmp_path / "c.parquet")) == listed


def test_more_prompts_than_are_held_at_once(tmp_path: Path) -> None:
    listed = [candidates(candidate("a", float(n)), name=f"s/{n}") for n in range(1200)]
    write_candidates(tmp_path / "c.parquet", listed)
    assert list(read_candidates(tmp_path / "c.parquet")) == listed
    assert [each.prompt.id for each in islice(read_candidates(tmp_path / "c.parquet"), 2)] == ["s/0", "s/1"]


def test_pairs_are_no_candidates(tmp_path: Path) -> None:
    write_pairs(tmp_path / "p.parquet", [pair()], 0)
    with pytest.raises(DataError, match=r"p\.parquet holds no answers that can be read: .*answers"):
        list(read_candidates(tmp_path / "p.parquet"))


def test_more_pairs_than_are_held_at_once(tmp_path: Path) -> None:
    path = tmp_path / "new" / "pairs.parquet"
    write_pairs(path, (pair(f"s/{n}", score=float(n)) for n in range(1200)), 0)
    found = list(read_pairs(path))
    assert [one.prompt.id for one in found] == [f"s/{n}" for n in range(1200)]
    assert found[1199] == pair("s/1199", score=1199.0)
    assert [one.prompt.id for one in islice(read_pairs(path), 2)] == ["s/0", "s/1"]


def test_columns_are_readable_by_others(tmp_path: Path) -> None:
    write_pairs(tmp_path / "p.parquet", [pair(origins=("post_edit", "policy@2"))], 3)
    (row,) = pq.read_table(tmp_path / "p.parquet").to_pylist()
    assert row["messages"] == [{"role": "user", "content": "Say it."}] and row["language_pair"] == "en-de"
    assert row["chosen"]["origin"] == "post_edit" and row["rejected"]["origin"] == "policy@2"
    assert row["chosen"]["scores"] == [{"scorer": "v", "value": 1.0}]


def test_lone_surrogates_do_not_stop_the_writing(tmp_path: Path) -> None:
    bad = pair()
    bad = replace(bad, chosen=replace(bad.chosen, text="a\ud800", reason="quotes \udfff"))
    write_pairs(tmp_path / "p.parquet", [bad], 0)
    (found,) = read_pairs(tmp_path / "p.parquet")
    assert (found.chosen.text, found.chosen.reason) == ("a?", "quotes ?")


def test_an_error_leaves_the_file_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "p.parquet"
    write_pairs(path, [pair()], 0)
    before = path.read_bytes()

    def broken():
        yield pair("s/2")
        raise RuntimeError("sampling broke off")

    with pytest.raises(RuntimeError):
        write_pairs(path, broken(), 1)
    assert path.read_bytes() == before
    assert list(tmp_path.iterdir()) == [path]


def written(folder: Path) -> pa.Table:
    """The table of one pair."""
    write_pairs(folder / "mine.parquet", [pair()], 0)
    return pq.read_table(folder / "mine.parquet")


def test_a_file_that_another_tool_has_rewritten(tmp_path: Path) -> None:
    table = written(tmp_path).append_column("note", pa.array(["mine"]))
    table = table.set_column(0, "id", table["id"].cast(pa.large_string())).select(["note", *reversed(PAIRS.names)])
    pq.write_table(table, tmp_path / "p.parquet")
    assert list(read_pairs(tmp_path / "p.parquet")) == [pair()]


def test_files_that_hold_no_pairs(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nothing\.parquet holds no pairs that can be read: .*No such file"):
        list(read_pairs(tmp_path / "nothing.parquet"))
    (tmp_path / "text.parquet").write_text("no parquet")
    with pytest.raises(DataError, match=r"text\.parquet holds no pairs"):
        list(read_pairs(tmp_path / "text.parquet"))
    pq.write_table(written(tmp_path).drop_columns("chosen"), tmp_path / "less.parquet")
    with pytest.raises(DataError, match=r"less\.parquet holds no pairs .*chosen"):
        list(read_pairs(tmp_path / "less.parquet"))
    other = written(tmp_path).set_column(0, "id", pa.array([[1]]))
    pq.write_table(other, tmp_path / "other.parquet")
    with pytest.raises(DataError, match=r"other\.parquet holds no pairs"):
        list(read_pairs(tmp_path / "other.parquet"))
