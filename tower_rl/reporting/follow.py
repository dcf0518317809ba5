"""Rows of a log that another process writes, as they come."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tower_rl.reporting.metrics import Row, read
from tower_rl.together import repeating

_INTERVAL_S = 0.5


@contextmanager
def following(path: Path, show: Callable[[Row], None]) -> Iterator[None]:
    """Calls `show` with each row that is added to a log while the context lasts; steps that are done again are shown again."""
    # looked at here and not in the thread: what is written from now on is new, whenever the thread begins
    known, last = _identity(path), len(read(path, superseded=True))

    def look() -> None:
        nonlocal known, last
        if (now := _identity(path)) != known:
            known, rows = now, read(path, superseded=True)
            for row in rows[last:]:
                show(row)
            last = len(rows)

    try:
        with repeating(_INTERVAL_S, look):
            yield
    finally:
        look()


def _identity(path: Path) -> tuple[int, int]:
    """Changes with every row."""
    if not path.exists():
        return 0, 0
    facts = path.stat()
    return facts.st_ino, facts.st_size
