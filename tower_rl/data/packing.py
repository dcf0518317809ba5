"""Documents into rows of at most `sequence_length` tokens, with little room left over."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tower_rl.data.packs import Pack
from tower_rl.data.rows import DataError

_Key = tuple[str, bool]
"""Stream, and whether its documents are held out."""


def pack(lengths: Sequence[int], capacity: int) -> list[list[int]]:
    """Best-fit decreasing: the longest document first, each into the fullest pack that has room for it.

    The documents of a pack come in their order, the packs in the order of their first documents. Takes O(n log n) comparisons.

    Args:
        lengths: tokens of each document, 1 to `capacity`.
        capacity: most tokens of a pack.

    Returns:
        The places of each pack's documents in `lengths`; every document is in one pack.

    Raises:
        ValueError: for a length out of its range.

    Source: D. S. Johnson, Near-optimal bin packing algorithms, 1973; for training H. Ding et al., Fewer Truncations Improve
    Language Modeling, 2024.
    """
    if lengths and not 1 <= min(lengths) <= max(lengths) <= capacity:
        raise ValueError(f"lengths are from {min(lengths)} to {max(lengths)}; a pack takes 1 to {capacity} tokens")
    packs: list[list[int]] = []
    rooms: list[int] = []  # the different numbers of free tokens that packs have, rising; none is 0
    packs_with: dict[int, list[int]] = {}  # the packs that have so many free tokens
    for document in sorted(range(len(lengths)), key=lengths.__getitem__, reverse=True):
        length = lengths[document]
        place = bisect_left(rooms, length)
        if place == len(rooms):
            room, number = capacity, len(packs)
            packs.append([document])
        else:
            room = rooms[place]
            number = packs_with[room].pop()
            packs[number].append(document)
            if not packs_with[room]:
                del packs_with[room], rooms[place]
        if left := room - length:
            if left not in packs_with:
                packs_with[left] = []
                insort(rooms, left)
            packs_with[left].append(number)
    return sorted(sorted(documents) for documents in packs)


def packs(tables: Iterable[pa.Table], sequence_length: int, window: int) -> Iterator[Pack]:
    """Packs of the rows in use of TOKENS tables, each of one stream and either for training or held out.

    Of each stream `window` documents at a time are packed; the emptiest pack of a window is taken apart and goes on with the
    next one. So at most `window + sequence_length` documents of a stream are in memory, the tables may be without end, and a
    stream's packs do not depend on where one table ends and the next begins.

    Args:
        tables: with the columns of TOKENS.
        sequence_length: most tokens of a pack.
        window: documents that are packed together; a thousand packs' worth leaves next to no room.

    Raises:
        DataError: for a row without tokens or with more than `sequence_length`, with another number of tokens than of
            `trained`, with nulls, or whose first token is trained.
    """
    waiting: dict[_Key, pa.Table] = {}
    left_over: dict[_Key, pa.Table] = {}
    for table in tables:
        for key, documents in _by_stream(table, sequence_length):
            left_over.setdefault(key, documents.slice(0, 0))
            waiting[key] = pa.concat_tables([waiting[key], documents]) if key in waiting else documents
            while len(waiting[key]) >= window:
                batch = pa.concat_tables([left_over[key], waiting[key].slice(0, window)])
                waiting[key] = waiting[key].slice(window)
                places = pack(_lengths(batch), sequence_length)
                left_over[key] = batch.take(places.pop(_emptiest(places, _lengths(batch))))
                yield from _made(batch, places, key)
    for key, documents in waiting.items():
        batch = pa.concat_tables([left_over[key], documents])
        yield from _made(batch, pack(_lengths(batch), sequence_length), key)


def steps(packs: Iterable[Pack], tokens_per_step: int) -> Iterator[list[Pack]]:
    """The packs of one step after the other, as many as come closest to `tokens_per_step` tokens; the last step may be short."""
    step: list[Pack] = []
    tokens = 0
    for item in packs:
        if step and not takes(tokens, item.tokens, tokens_per_step):
            yield step
            step, tokens = [], 0
        step.append(item)
        tokens += item.tokens
    if step:
        yield step


def takes(tokens: int, more: int, target: int) -> bool:
    """Whether a step of `tokens` tokens comes closer to its target, or as close, with a pack of `more` tokens."""
    return 2 * tokens + more <= 2 * target


def _by_stream(table: pa.Table, sequence_length: int) -> Iterator[tuple[_Key, pa.Table]]:
    """The rows in use, parted by stream and by what they are for."""
    table = table.filter(pc.equal(table["dropped"], ""))
    _check(table, sequence_length)
    rows: dict[_Key, list[int]] = {}
    columns = (table[name].to_pylist() for name in ("corpus", "language", "held_out"))
    for row, (corpus, language, held_out) in enumerate(zip(*columns, strict=True)):
        rows.setdefault((f"{corpus}/{language}", held_out), []).append(row)
    documents = table.select(["token_ids", "trained"])
    for key, listed in rows.items():
        yield key, documents.take(listed)


def _check(table: pa.Table, sequence_length: int) -> None:
    lengths = pc.fill_null(pc.list_value_length(table["token_ids"]), 0)
    _refuse(table, pc.equal(lengths, 0), "has no tokens")
    _refuse(table, pc.greater(lengths, sequence_length), f"has more than sequence_length = {sequence_length} tokens")
    marks = pc.fill_null(pc.list_value_length(table["trained"]), 0)
    _refuse(table, pc.not_equal(marks, lengths), "does not say of each of its tokens whether it is trained")
    _refuse(
        table,
        pc.fill_null(pc.list_element(table["trained"], 0), False),
        "trains its first token, which nothing predicts",
    )
    for name in ("token_ids", "trained"):
        if pc.list_flatten(table[name]).null_count:
            raise DataError(f"a table of tokens has nulls inside {name!r}")


def _refuse(table: pa.Table, bad: pa.ChunkedArray, why: str) -> None:
    if pc.any(bad).as_py():
        raise DataError(f"row {table['id'][pc.index(bad, True).as_py()].as_py()!r} {why}")


def _lengths(documents: pa.Table) -> list[int]:
    lengths: list[int] = pc.list_value_length(documents["token_ids"]).to_pylist()
    return lengths


def _emptiest(places: list[list[int]], lengths: list[int]) -> int:
    tokens = [sum(lengths[place] for place in places_of_pack) for places_of_pack in places]
    return tokens.index(min(tokens))


def _made(documents: pa.Table, places: list[list[int]], key: _Key) -> Iterator[Pack]:
    """The packs whose documents stand at `places`."""
    stream, held_out = key
    ordered = documents.take(np.concatenate([np.empty(0, np.int64), *places]).astype(np.int64)).combine_chunks()
    token_ids = pc.list_flatten(ordered["token_ids"]).to_numpy()
    trained = pc.list_flatten(ordered["trained"]).to_numpy()
    lengths = pc.list_value_length(ordered["token_ids"]).to_numpy().astype(np.int64)
    ends = np.cumsum(lengths)
    first = 0
    for count in map(len, places):
        last = first + count
        tokens = slice(ends[first] - lengths[first], ends[last - 1])
        yield Pack(token_ids[tokens].astype(np.int64), trained[tokens].copy(), lengths[first:last].copy(), stream, held_out)
        first = last
