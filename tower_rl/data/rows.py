"""What every source of prompts yields."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class DataError(Exception):
    """Prompts cannot be made as configured; the message says what to do."""


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


def user_message(text: str) -> tuple[Mapping[str, str], ...]:
    """A conversation of one user turn."""
    return ({"role": "user", "content": text},)
