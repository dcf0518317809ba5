"""Counts and samples of hand-worked tables."""

from collections import Counter

import pyarrow as pa
from corpus_rows import chat, pair, table, text

from tower_rl.data.corpus import tally


def lost(reason, **row):
    return text("x" * 2000, "de") | {"dropped": reason, "detail": "why"} | row


def test_counts_and_report():
    rows = table(
        text("a", "de"), text("b", "de") | {"detail": "scrubbed: 1 e-mail; unjudged: broken"}, lost("length: ratio"),
        pair("a", "b") | {"corpus": "d"}, lost("read: bad row", corpus="d", language=""),
    )  # fmt: skip
    kept = rows.slice(0, 2)
    counts = tally.count(rows, "read") + tally.count_dropped(rows) + tally.count_notes(rows) + tally.count(kept, "kept")
    report = tally.report(counts)
    assert {name: report[name] for name in ("read", "made", "kept", "lost")} == {"read": 5, "made": -1, "kept": 2, "lost": 2}
    assert report["dropped"] == {"length: ratio": 1, "read: bad row": 1} and report["noted"] == {"scrubbed": 1, "unjudged": 1}
    assert report["corpora"]["c"]["languages"]["de"]["read"] == 3
    assert report["corpora"]["d"]["languages"][""] == {
        "read": 1, "made": 0, "kept": 0, "lost": 1, "dropped": {"read: bad row": 1}, "noted": {},
    }  # fmt: skip


def test_samples_of_pieces_are_those_of_the_whole():
    rows = [lost(f"step: {n % 3}") for n in range(60)] + [text("kept")]
    whole = tally.fewest(tally.samples(table(*rows), 4), 4)
    halves = [table(*rows).slice(start, 20) for start in (0, 20, 40, 60)]
    assert tally.fewest([row for half in halves for row in tally.samples(half, 4)], 4) == whole
    assert Counter(row["reason"] for row in whole) == {f"step: {n}": 4 for n in range(3)}


def test_samples_are_clipped_and_show_what_the_row_has():
    first, second = tally.samples(table(lost("a: b"), chat("q", "x" * 2000) | {"dropped": "c: d"}), 4)
    assert first == {"corpus": "c", "language": "de", "reason": "a: b", "detail": "why", "id": "c/0", "text": "x" * tally.CLIP}
    assert [len(message["content"]) for message in second["messages"]] == [1, tally.CLIP]


def test_samples_of_tables_without_texts():
    tokens = pa.table({name: ["x"] for name in ("id", "corpus", "language", "dropped", "detail")})
    assert tally.samples(tokens, 1)[0]["reason"] == "x"
