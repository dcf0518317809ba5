"""What every source of prompts yields, and how many of its rows may be bad."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

SHOWN = 10
"""Bad rows that an error message shows."""


class DataError(Exception):
    """Data cannot be used as configured; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that the data give, before the chat template."""

    text: str
    origin: str
    score: float | None
    """None where the data give none."""


@dataclass(frozen=True, slots=True)
class Row:
    """One task of a source, before the chat template."""

    id: str
    """Stable and unique in the run: `SOURCE/...`."""
    messages: tuple[Mapping[str, str], ...]
    """Chat messages, each with `role` and `content`; the last is the user's."""
    verifier: str
    """The name of an entry of the configuration's `verifiers`."""
    reference: Any
    """What the verifier compares with; None where the rules alone decide."""
    meta: Mapping[str, Any]
    """JSON-like facts for the verifier."""
    answers: tuple[Answer, ...] = ()
    """Answers that the data give."""

    @property
    def language_pair(self) -> str | None:
        """For example `en-de`, from `source_lang` and `target_lang` in `meta`; None without them."""
        source, target = self.meta.get("source_lang"), self.meta.get("target_lang")
        return f"{source}-{target}" if source and target else None


@dataclass(frozen=True, slots=True)
class Reject:
    """A row that is not used, for rejects.jsonl."""

    source: str
    """The name of the source."""
    place: str
    """`FILE:LINE` of a bad row, or the id of a good one."""
    reason: str
    """A short class of reasons, counted: `bad row`, `too long`, `duplicate`."""
    detail: str
    """What is wrong with this row."""


def check_share(owner: str, bad: int, rows: int, most: float, first: Sequence[str]) -> None:
    """Raises DataError, with the first SHOWN of the bad rows, when their share of all rows is above `most` (max_rejects)."""
    if bad > most * rows:
        lines = "".join(f"\n  {line}" for line in first[:SHOWN])
        raise DataError(f"{owner}: {bad} of {rows} rows are bad, more than max_rejects = {most:g}:{lines}")


def user_message(text: str) -> tuple[Mapping[str, str], ...]:
    """A conversation of one user turn."""
    return ({"role": "user", "content": text},)
