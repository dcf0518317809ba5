"""The texts inside a table of RECORDS, and how steps drop rows and leave notes."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tower_rl.data.corpus.records import MESSAGES

Step = Callable[[pa.Table], pa.Table]
Loss = tuple[str, str]
"""Why a row is dropped: `STEP: CLASS`, and what about this row."""

_TEXTS = ("text", "original", "translation")


class Record(NamedTuple):
    """The part of a row that steps judge."""

    kind: str
    """text, pair or chat."""
    language: str
    """As in the row."""
    texts: tuple[str, ...]
    """The text; original and translation; or the messages' contents."""

    @property
    def languages(self) -> tuple[str, ...]:
        """One language a text; "" where nobody said."""
        if self.kind == "pair":
            original, _, translation = self.language.partition("-")
            return original, translation
        return (self.language,) * len(self.texts)


def records(table: pa.Table) -> list[Record | None]:
    """What each row says; None for dropped rows."""
    used = in_use(table).to_pylist()
    names = ("kind", "language", *_TEXTS)
    columns = zip(used, *(table[name].to_pylist() for name in names), _contents(table), strict=True)
    return [_record(*row) if use else None for use, *row in columns]


def in_use(table: pa.Table) -> pa.ChunkedArray:
    """[rows] whether each row is in use."""
    return pc.equal(table["dropped"], "")


def map_texts(table: pa.Table, change: Callable[[str], str]) -> pa.Table:
    """The table with each text of the rows in use changed."""
    used = in_use(table).to_pylist()
    for name in _TEXTS:
        values = [change(value) if use and value else value for use, value in zip(used, table[name].to_pylist(), strict=True)]
        table = _with(table, name, pa.array(values, pa.string()))
    if not _has_messages(table):
        return table
    chats = zip(used, table["messages"].to_pylist(), strict=True)
    changed = [[m | {"content": change(m["content"])} for m in chat] if use else chat for use, chat in chats]
    return _with(table, "messages", pa.array(changed, MESSAGES))


def drop(table: pa.Table, losses: Sequence[Loss | None]) -> pa.Table:
    """The table in which the rows that have a loss are dropped; those dropped before keep their reason."""
    before = zip(table["dropped"].to_pylist(), table["detail"].to_pylist(), losses, strict=True)
    after = [(reason, detail) if reason or not loss else loss for reason, detail, loss in before]
    for place, name in enumerate(("dropped", "detail")):
        table = _with(table, name, pa.array([row[place] for row in after], pa.string()))
    return table


def drop_by(table: pa.Table, judge: Callable[[Record], Loss | None]) -> pa.Table:
    """Drop the rows in use to which the judge has something to say."""
    return drop(table, [judge(record) if record else None for record in records(table)])


def note(table: pa.Table, notes: Iterable[str]) -> pa.Table:
    """The table in which the rows in use have these notes added; "" adds none."""
    rows = zip(in_use(table).to_pylist(), table["detail"].to_pylist(), notes, strict=True)
    details = ["; ".join(filter(None, (detail, added))) if use else detail for use, detail, added in rows]
    return _with(table, "detail", pa.array(details, pa.string()))


def _record(kind: str, language: str, text: str, original: str, translation: str, contents: tuple[str, ...]) -> Record:
    texts = contents if kind == "chat" else (original, translation) if kind == "pair" else (text,)
    return Record(kind, language, texts)


def _contents(table: pa.Table) -> list[tuple[str, ...]]:
    if not _has_messages(table):
        return [()] * table.num_rows
    return [tuple(message["content"] for message in chat) for chat in table["messages"].to_pylist()]


def _has_messages(table: pa.Table) -> bool:
    return bool(pc.sum(pc.list_value_length(table["messages"])).as_py())


def _with(table: pa.Table, name: str, column: pa.Array) -> pa.Table:
    place = table.schema.get_field_index(name)
    return table.set_column(place, table.schema.field(place), column)
