"""The metrics of a stage: one JSON object a line, one line a step, whose `step` counts from 0."""

import json
import math
from collections.abc import Mapping
from numbers import Integral
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tower_rl.files import replacing

FIRST = ("step", "stage", "attempt")

Row = dict[str, Any]


class MetricsLog:
    """Appends rows to a metrics.jsonl. On opening, a last line that a kill cut short is dropped."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        _drop_torn_line(path)
        self._stream = path.open("a", encoding="utf-8")

    def append(self, row: Mapping[str, Any]) -> None:
        """Writes a row at once: `step`, `stage`, `attempt` first, then the other keys sorted; NaN and infinity become null.

        Raises KeyError when one of the three is missing, TypeError or ValueError for a value that is no number or text.
        """
        keys = [*FIRST, *sorted(row.keys() - set(FIRST))]
        self._stream.write(_line({key: _plain(row[key]) for key in keys}))
        self._stream.flush()

    def supersede(self, after_step: int) -> None:
        """Marks the rows past a step `"superseded": true`: a rollback made them void."""
        rows = [row | {"superseded": True} if row["step"] > after_step else row for row in read(self.path, superseded=True)]
        self._stream.close()
        with replacing(self.path) as temporary:
            temporary.write_text("".join(map(_line, rows)), encoding="utf-8")
        self._stream = self.path.open("a", encoding="utf-8")

    def close(self) -> None:
        """Closes the file."""
        self._stream.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()


def read(path: Path, superseded: bool = False) -> list[Row]:
    """The rows of a log, in order, without a torn last line; superseded ones only when asked for. No file: no rows."""
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]  # what follows the last line end is torn
    rows: list[Row] = [json.loads(line) for line in lines]
    return [row for row in rows if superseded or not row.get("superseded", False)]


def _drop_torn_line(path: Path) -> None:
    with path.open("rb+") as stream:
        content = stream.read()
        stream.truncate(content.rfind(b"\n") + 1)


def _line(row: Row) -> str:
    return json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n"


def _plain(value: Any) -> str | int | float | bool | None:
    """A JSON value; numpy's numbers become Python's."""
    if value is None or isinstance(value, str | bool):
        return value
    if isinstance(value, Integral):
        return int(value)
    number = float(value)
    return number if math.isfinite(number) else None
