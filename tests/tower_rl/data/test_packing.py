"""Packing: nothing lost, nothing twice, little room left over, bounded memory."""

from itertools import count, islice
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.data.corpus.records import TOKENS
from tower_rl.data.packing import pack, packs, steps
from tower_rl.data.packs import Pack
from tower_rl.data.rows import DataError


def first_fit(lengths: list[int], capacity: int) -> int:
    rooms: list[int] = []
    for length in lengths:
        place = next((place for place, room in enumerate(rooms) if room >= length), None)
        if place is None:
            rooms.append(capacity)
        rooms[-1 if place is None else place] -= length
    return len(rooms)


def best_fit_decreasing(lengths: list[int], capacity: int) -> int:
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        rooms.sort()
        place = next((place for place, room in enumerate(rooms) if room >= length), len(rooms))
        rooms[place:] = [rooms[place] - length, *rooms[place + 1 :]] if place < len(rooms) else [capacity - length]
    return len(rooms)


def segments(n: int) -> list[int]:
    """Like translated segments of catalogues as chats: 20 to 200 tokens, most of them short."""
    return np.clip(np.random.default_rng(0).lognormal(np.log(60), 0.6, n), 20, 200).astype(int).tolist()


def web(n: int, longest: int) -> list[int]:
    """Like documents of the web, cut at `longest`: a median of 400 tokens, a long tail."""
    return np.clip(np.random.default_rng(0).lognormal(6, 1.1, n), 1, longest).astype(int).tolist()


def test_by_hand() -> None:
    # 7 opens a pack, 6 the next and 4 fills it; the first 3 fills the 7's, the other two open a third.
    assert pack([3, 7, 4, 3, 6, 3], 10) == [[0, 1], [2, 4], [3, 5]]
    assert pack([], 10) == []


@settings(deadline=None)
@given(st.integers(1, 60).flatmap(lambda top: st.tuples(st.just(top), st.lists(st.integers(1, top), max_size=60))))
def test_every_document_once_in_order_and_never_above_capacity(case: tuple[int, list[int]]) -> None:
    capacity, lengths = case
    found = pack(lengths, capacity)
    assert sorted(place for documents in found for place in documents) == list(range(len(lengths)))
    assert all(documents == sorted(documents) for documents in found)
    assert found == sorted(found)
    assert all(0 < sum(lengths[place] for place in documents) <= capacity for documents in found)
    assert len(found) == best_fit_decreasing(lengths, capacity)


@pytest.mark.parametrize("lengths", [[0, 5], [5, 11]])
def test_lengths_out_of_range(lengths: list[int]) -> None:
    with pytest.raises(ValueError, match="a pack takes 1 to 10 tokens"):
        pack(lengths, 10)


@pytest.mark.parametrize(
    ("capacity", "least_segments", "least_web"), [(512, 0.993, 0.998), (1024, 0.993, 0.998), (4096, 0.98, 0.998)]
)
def test_fill_beats_first_fit(capacity: int, least_segments: float, least_web: float) -> None:
    for lengths, least in ((segments(3000), least_segments), (web(3000, capacity), least_web)):
        found = pack(lengths, capacity)
        assert sum(lengths) / (len(found) * capacity) > least
        assert len(found) <= first_fit(lengths, capacity)


def table(lengths: list[int], first: int = 0, **columns: list[Any]) -> pa.Table:
    """TOKENS rows whose n-th token is n, counted over all rows from `first` on; all but each row's first are trained."""
    starts = np.cumsum([first, *lengths])
    rows = [
        {
            "id": f"c/{start}",
            "corpus": "c",
            "language": "de",
            "held_out": False,
            "token_ids": list(range(start, start + length)),
            "trained": [place > 0 for place in range(length)],
            "dropped": "",
            "detail": "",
        }
        | {name: values[row] for name, values in columns.items()}
        for row, (start, length) in enumerate(zip(starts, lengths, strict=False))
    ]
    return pa.Table.from_pylist(rows, schema=TOKENS)


def documents_of(found: list[Pack]) -> list[list[int]]:
    return [part.tolist() for item in found for part in np.split(item.token_ids, np.cumsum(item.lengths)[:-1])]


def same(left: list[Pack], right: list[Pack]) -> bool:
    def plain(item: Pack) -> tuple[Any, ...]:
        return (item.token_ids.tolist(), item.trained.tolist(), item.lengths.tolist(), item.stream, item.held_out)

    return [plain(item) for item in left] == [plain(item) for item in right]


def test_a_pack_in_full() -> None:
    (found,) = packs([table([3, 1, 2])], 8, window=100)
    assert found.token_ids.tolist() == [0, 1, 2, 3, 4, 5]
    assert found.trained.tolist() == [False, True, True, False, False, True]
    assert found.lengths.tolist() == [3, 1, 2]
    assert (found.stream, found.held_out, found.tokens) == ("c/de", False, 6)
    assert (found.token_ids.dtype, found.trained.dtype, found.lengths.dtype) == (np.int64, np.bool_, np.int64)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(1, 20), max_size=12), max_size=8), st.integers(1, 15), st.integers(20, 50), st.integers(1, 5)
)
def test_whole_documents_once_whatever_the_windows_and_tables(
    parts: list[list[int]], window: int, sequence_length: int, cut: int
) -> None:
    lengths = [length for part in parts for length in part]
    starts = np.cumsum([0, *map(sum, parts)]).tolist()
    found = list(packs([table(part, start) for part, start in zip(parts, starts, strict=False)], sequence_length, window))
    expected = [list(range(end - length, end)) for length, end in zip(lengths, np.cumsum(lengths).tolist(), strict=True)]
    assert sorted(documents_of(found)) == expected
    assert all(item.tokens == item.lengths.sum() <= sequence_length for item in found)
    whole = table(lengths)
    assert same(found, list(packs([whole.slice(at, cut) for at in range(0, len(whole), cut)], sequence_length, window)))


def test_streams_and_held_out_rows_never_share_a_pack_and_dropped_rows_are_passed_over() -> None:
    rows = table(
        [2, 3, 4, 5, 6],
        corpus=["a", "a", "b", "a", "a"],
        language=["de", "fr", "de", "de", "de"],
        held_out=[False, False, False, True, False],
        dropped=["", "", "", "", "tokenize: too long"],
    )
    found = {(item.stream, item.held_out): item.lengths.tolist() for item in packs([rows], 100, window=2)}
    assert found == {("a/de", False): [2], ("a/fr", False): [3], ("b/de", False): [4], ("a/de", True): [5]}


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"token_ids": [[1, 2], []]}, "row 'c/2' has no tokens"),
        ({"token_ids": [[1, 2], None]}, "row 'c/2' has no tokens"),
        ({"token_ids": [[1, 2], [1] * 9]}, "row 'c/2' has more than sequence_length = 8 tokens"),
        ({"trained": [[False, True], [False]]}, "row 'c/2' does not say of each of its tokens"),
        ({"trained": [[False, True], [True, True]]}, "row 'c/2' trains its first token"),
        ({"token_ids": [[1, 2], [1, None]]}, "nulls inside 'token_ids'"),
    ],
)
def test_rows_that_cannot_be_packed(columns: dict[str, list[Any]], message: str) -> None:
    with pytest.raises(DataError, match=message):
        list(packs([table([2, 2], **columns)], 8, window=10))


def test_small_windows_fill_as_well_as_large_ones() -> None:
    lengths = segments(5000)
    for window, least in ((50, 0.97), (500, 0.99), (5000, 0.995)):
        found = list(packs([table(lengths)], 1024, window))
        assert sum(lengths) / (len(found) * 1024) > least


def test_tables_without_end_are_never_far_ahead() -> None:
    read = 0

    def tables() -> Any:
        nonlocal read
        for _ in count():
            read += 1
            yield table([5, 3, 4, 6])

    given_out = 0
    for item in islice(packs(tables(), 16, window=8), 500):
        given_out += len(item.lengths)
        assert 4 * read <= given_out + 8 + 16 + 8  # waiting, left over, and those of the window that is being given out


def test_steps_are_whole_packs_closest_to_the_target() -> None:
    def of(tokens: int) -> Pack:
        return Pack(np.zeros(tokens, np.int64), np.zeros(tokens, np.bool_), np.array([tokens]), "c/de")

    found = [of(tokens) for tokens in (6, 6, 6, 9, 10, 10, 3)]
    assert [[item.tokens for item in step] for step in steps(found, 20)] == [[6, 6, 6], [9, 10], [10, 3]]
    assert [len(step) for step in steps(found, 1)] == [1] * 7
    assert list(steps([], 20)) == []
