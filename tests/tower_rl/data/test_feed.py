"""The feed of rows that stream in: everything is learned once an epoch, ranks end it together, counts go on."""

from collections import Counter
from collections.abc import Iterator, Sequence
from threading import Barrier, Thread
from typing import Any

import pyarrow as pa
import pytest

from tower_rl.config.stages import SftStage
from tower_rl.data import feed as feeds
from tower_rl.data.corpus.records import TOKENS
from tower_rl.data.feed import StreamingFeed, Taken
from tower_rl.data.packs import Pack
from tower_rl.data.rows import DataError

STAGE = SftStage(name="s", kind="sft", steps=10, tokens_per_step=40, sequence_length=20)


def row(number: int, **other: Any) -> dict[str, Any]:
    """A document of 3 to 7 tokens, all of them its number; all but the first are learned."""
    length = 3 + number % 5
    plain = {"id": f"c/{number}", "corpus": "ab"[number % 2], "language": "de", "held_out": number % 10 == 0}
    plain |= {"token_ids": [number] * length, "trained": [False] + [True] * (length - 1), "dropped": "", "detail": ""}
    return plain | other


def table(rows: list[dict[str, Any]]) -> pa.Table:
    return pa.Table.from_pylist(rows, schema=TOKENS)


def feed(rows: list[dict[str, Any]], most: float = 0.5) -> StreamingFeed:
    def tables() -> Iterator[pa.Table]:
        yield from (table(rows[start : start + 7]) for start in range(0, len(rows), 7))

    return StreamingFeed(tables, STAGE, {"a": most, "b": most}, 1, lambda taken: [taken])


def documents(packs: Sequence[Pack]) -> list[int]:
    """The number of each document of the packs."""
    return [int(number) for pack in packs for number in pack.token_ids[[0, *pack.lengths.cumsum()[:-1]]]]


def test_an_epoch_has_every_row_once_and_none_that_is_held_out() -> None:
    streaming = feed([row(number) for number in range(100)])
    held_out = documents(list(streaming.held_out()))
    assert sorted(held_out) == list(range(0, 100, 10))
    seen: Counter[int] = Counter()
    for number in range(100):
        packs = streaming.step(number)
        if streaming.metrics()["mixture/epoch"]:
            break
        assert 0 < sum(pack.tokens for pack in packs) <= 50
        seen.update(documents(packs))
    assert seen == Counter(number for number in range(100) if number % 10)
    assert documents(list(streaming.held_out())) == held_out


def test_shares_and_losses_are_told() -> None:
    rows = [
        row(number, corpus="a" if number < 75 else "b", token_ids=[1, 2, 3], trained=[False, True, True]) for number in range(100)
    ]
    rows += [row(number, corpus="b", dropped="length: too short", token_ids=[], trained=[]) for number in range(10)]
    streaming = feed(rows)
    for number in range(7):  # 90 rows of 3 tokens, 36 or 40 a step
        streaming.step(number)
    metrics = streaming.metrics()
    assert metrics["mixture/epoch"] == 0 and metrics["mixture/b/dropped"] == 10
    assert metrics["mixture/a/realised"] == metrics["mixture/a/de/realised"]
    assert metrics["mixture/a/realised"] + metrics["mixture/b/realised"] == pytest.approx(1)


def test_it_goes_on_behind_what_was_learned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feeds, "WINDOW", 1)
    rows = [row(number, corpus="a") for number in range(100)]
    first = feed(rows)
    seen = [number for step in range(3) for number in documents(first.step(step))]
    state = first.state_dict()
    second = feed(rows)
    second.load_state_dict(state)
    assert state["documents"] == len(seen)
    assert second.state_dict() == state
    further = documents(second.step(3))
    learned = [number for number in range(100) if number % 10]
    assert further[0] == learned[len(seen)]
    with pytest.raises(DataError, match="another kind of feed"):
        second.load_state_dict({"step": 3})


def test_ranks_end_an_epoch_together() -> None:
    """One rank has a third of the other's rows; no call waits for ever, and both begin the second epoch in one step."""
    barrier, votes, begun = Barrier(2, timeout=20), dict[int, Taken](), [list[int](), list[int]()]

    states: list[dict[str, Any]] = [{}, {}]

    def run(rank: int) -> None:
        rows = [row(number, held_out=False) for number in range((30, 90)[rank])]
        steps = [0]

        def tables() -> Iterator[pa.Table]:
            begun[rank].append(steps[0])
            yield table(rows)

        def gather(taken: Taken) -> list[Taken]:
            votes[rank] = taken
            barrier.wait()
            result = list(votes.values())
            barrier.wait()
            return result

        streaming = StreamingFeed(tables, STAGE, {}, 2, gather)
        for steps[0] in range(40):
            streaming.step(steps[0])
        states[rank] = streaming.state_dict()

    threads = [Thread(target=run, args=(rank,), daemon=True) for rank in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert not any(thread.is_alive() for thread in threads)
    assert begun[0] == begun[1] and len(begun[0]) > 1
    assert states[0] == states[1] and states[0]["tokens"]["a/de"] > 0


def test_too_many_bad_rows_stop_it_with_the_first() -> None:
    bad = {"dropped": "read: broken JSON", "detail": "line", "token_ids": [], "trained": []}
    rows = [row(number, corpus="a", **(bad if number % 4 == 0 else {})) for number in range(60)]
    assert feed(rows, 0.25).step(0)
    with pytest.raises(DataError) as error:
        feed(rows, 0.2).step(0)
    lines = str(error.value).splitlines()
    assert lines[0] == "corpus 'a': 15 of 60 rows are bad, more than max_rejects = 0.2:"
    assert lines[1:] == [f"  c/{number}: broken JSON: line" for number in range(0, 40, 4)]


def test_nothing_to_learn_is_refused() -> None:
    with pytest.raises(DataError, match="no row to learn from"):
        feed([row(0)]).step(0)
    with pytest.raises(DataError, match="no row to learn from"):
        feed([]).step(0)
