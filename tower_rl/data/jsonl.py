"""Prompts from a JSON lines file; bad rows are set aside with their line number and reason."""

import json
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from tower_rl.config.schema import AnswersSource, JsonlSource
from tower_rl.data.rows import DataError, Reject, Row, check_share

FIELDS = ("messages", "prompt", "verifier", "id", "reference", "meta")
"""What a task may have."""
_ROLES = ("system", "user", "assistant")

R = TypeVar("R", bound=Row)


class BadRow(Exception):
    """Why a line is no row."""


def read(name: str, source: JsonlSource) -> tuple[list[Row], list[Reject]]:
    """Rows of the file in its order, and the lines that are none; empty lines are passed over.

    Raises DataError when the file cannot be read.
    """
    return read_rows(name, source.path, partial(_row, name, source.verifier))


def read_rows(name: str, file_name: str, make: Callable[[int, dict[str, Any]], R]) -> tuple[list[R], list[Reject]]:
    """The same for rows of any sort: `make` gets the number of a line and its object, and may raise BadRow."""
    rows: dict[str, R] = {}
    rejects = []
    try:
        with Path(file_name).expanduser().open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = make(number, _parse(line))
                    if row.id in rows:
                        raise BadRow(f"the id of {row.id!r} stands in the file twice")
                    rows[row.id] = row
                except BadRow as error:
                    rejects.append(Reject(name, f"{file_name}:{number}", "bad row", str(error)))
    except OSError as error:
        raise DataError(f"source {name!r}: {file_name} cannot be read: {error.strerror}") from error
    return list(rows.values()), rejects


def check_rejects(name: str, source: JsonlSource | AnswersSource, rows: int, rejects: list[Reject]) -> None:
    """Raises DataError with the first ten bad rows when their share is above `max_rejects`."""
    first = [f"{reject.place}: {reject.detail}" for reject in rejects]
    check_share(f"source {name!r}", len(rejects), rows + len(rejects), source.max_rejects, first)


def _row(name: str, verifier: str | None, number: int, value: dict[str, Any]) -> Row:
    check_fields(value, FIELDS)
    return task(name, verifier, number, value)


def check_fields(value: dict[str, Any], fields: Sequence[str]) -> None:
    """Raises BadRow for an object that has a field beside these."""
    unknown = sorted(set(value) - set(fields))
    if unknown:
        raise BadRow(f"unknown field {unknown[0]!r}; fields are {', '.join(fields)}, and facts for the verifier go into meta")


def task(name: str, verifier: str | None, number: int, value: dict[str, Any]) -> Row:
    """The row that the FIELDS of an object say. Args: source, verifier of rows that name none, line. Raises BadRow."""
    verifier = value.get("verifier", verifier)
    if verifier is None:
        raise BadRow("missing field 'verifier', and the source names none")
    if not isinstance(verifier, str):
        raise BadRow("'verifier' is no string")
    meta = value.get("meta", {})
    if not isinstance(meta, dict):
        raise BadRow("'meta' is no object")
    identity = value.get("id", str(number))
    if not isinstance(identity, str) or not identity:
        raise BadRow("'id' is no string, or empty")
    return Row(f"{name}/{identity}", _messages(value), verifier, value.get("reference"), meta)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate, as in "\ud800", is no text
    except UnicodeError:
        raise BadRow("invalid UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise BadRow(f"broken JSON: {error}") from None
    if not isinstance(value, dict):
        raise BadRow("the line is no JSON object")
    return value


def _messages(value: dict[str, Any]) -> tuple[dict[str, str], ...]:
    if ("messages" in value) == ("prompt" in value):
        raise BadRow("both 'messages' and 'prompt'" if "messages" in value else "missing field 'messages' (or 'prompt')")
    messages = [{"role": "user", "content": value["prompt"]}] if "prompt" in value else value["messages"]
    check_messages("messages", messages)
    if messages[-1]["role"] != "user":
        raise BadRow("the last message is not the user's")
    return tuple(messages)


def check_messages(field: str, messages: Any) -> None:
    """Raises BadRow for what is no list of messages, each with a known role and a text."""
    if not isinstance(messages, list) or not messages:
        raise BadRow(f"{field!r} is no list, or empty")
    for place, message in enumerate(messages):
        _check_message(place, message)


def _check_message(place: int, message: Any) -> None:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise BadRow(f"message {place} is no object with exactly 'role' and 'content'")
    if message["role"] not in _ROLES:
        raise BadRow(f"message {place} has the role {message['role']!r}; roles are {', '.join(_ROLES)}")
    if not isinstance(message["content"], str):
        raise BadRow(f"the text of message {place} is no string")
    if not message["content"].strip():
        raise BadRow(f"the text of message {place} is empty")
