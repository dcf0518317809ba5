"""Prompts from a JSON lines file; bad rows are set aside with their line number and reason."""

import json
from pathlib import Path
from typing import Any

from tower_rl.config.schema import JsonlSource
from tower_rl.data.rows import DataError, Reject, Row, check_share

_FIELDS = ("messages", "prompt", "verifier", "id", "reference", "meta")
_ROLES = ("system", "user", "assistant")


class _BadRow(Exception):
    """Why a line is no prompt."""


def read(name: str, source: JsonlSource) -> tuple[list[Row], list[Reject]]:
    """Rows of the file in its order, and the lines that are none; empty lines are passed over.

    Raises DataError when the file cannot be read.
    """
    path = Path(source.path).expanduser()
    rows: dict[str, Row] = {}
    rejects = []
    try:
        with path.open("rb") as file:
            for number, line in enumerate(file, start=1):
                if not line.strip():
                    continue
                try:
                    row = _row(name, source, number, line)
                    if row.id in rows:
                        raise _BadRow(f"the id of {row.id!r} stands in the file twice")
                    rows[row.id] = row
                except _BadRow as error:
                    rejects.append(Reject(name, f"{source.path}:{number}", "bad row", str(error)))
    except OSError as error:
        raise DataError(f"source {name!r}: {source.path} cannot be read: {error.strerror}") from error
    return list(rows.values()), rejects


def check_rejects(name: str, source: JsonlSource, rows: int, rejects: list[Reject]) -> None:
    """Raises DataError with the first ten bad rows when their share is above `max_rejects`."""
    first = [f"{reject.place}: {reject.detail}" for reject in rejects]
    check_share(f"source {name!r}", len(rejects), rows + len(rejects), source.max_rejects, first)


def _row(name: str, source: JsonlSource, number: int, line: bytes) -> Row:
    value = _parse(line)
    unknown = sorted(set(value) - set(_FIELDS))
    if unknown:
        raise _BadRow(f"unknown field {unknown[0]!r}; fields are {', '.join(_FIELDS)}, and facts for the verifier go into meta")
    verifier = value.get("verifier", source.verifier)
    if verifier is None:
        raise _BadRow("missing field 'verifier', and the source names none")
    if not isinstance(verifier, str):
        raise _BadRow("'verifier' is no string")
    meta = value.get("meta", {})
    if not isinstance(meta, dict):
        raise _BadRow("'meta' is no object")
    identity = value.get("id", str(number))
    if not isinstance(identity, str) or not identity:
        raise _BadRow("'id' is no string, or empty")
    return Row(f"{name}/{identity}", _messages(value), verifier, value.get("reference"), meta)


def _parse(line: bytes) -> dict[str, Any]:
    try:
        value = json.loads(line.decode("utf-8"))
        json.dumps(value, ensure_ascii=False).encode("utf-8")  # a lone surrogate, as in "\ud800", is no text
    except UnicodeError:
        raise _BadRow("invalid UTF-8") from None
    except (ValueError, RecursionError) as error:
        raise _BadRow(f"broken JSON: {error}") from None
    if not isinstance(value, dict):
        raise _BadRow("the line is no JSON object")
    return value


def _messages(value: dict[str, Any]) -> tuple[dict[str, str], ...]:
    if ("messages" in value) == ("prompt" in value):
        raise _BadRow("both 'messages' and 'prompt'" if "messages" in value else "missing field 'messages' (or 'prompt')")
    messages = [{"role": "user", "content": value["prompt"]}] if "prompt" in value else value["messages"]
    if not isinstance(messages, list) or not messages:
        raise _BadRow("'messages' is no list, or empty")
    for place, message in enumerate(messages):
        _check_message(place, message)
    if messages[-1]["role"] != "user":
        raise _BadRow("the last message is not the user's")
    return tuple(messages)


def _check_message(place: int, message: Any) -> None:
    if not isinstance(message, dict) or set(message) != {"role", "content"}:
        raise _BadRow(f"message {place} is no object with exactly 'role' and 'content'")
    if message["role"] not in _ROLES:
        raise _BadRow(f"message {place} has the role {message['role']!r}; roles are {', '.join(_ROLES)}")
    if not isinstance(message["content"], str):
        raise _BadRow(f"the text of message {place} is no string")
    if not message["content"].strip():
        raise _BadRow(f"the text of message {place} is empty")
