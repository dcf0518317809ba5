"""Rows of JSON lines, parquet and Hugging Face data sets: their shape is recognised by their fields.

    messages                     chat: a list of {role, content}
    conversations                chat, ShareGPT: a list of {from, value}
    instruction, input?, output  chat, Alpaca
    prompt, completion           chat, TRL: texts, or lists of messages
    translation                  pair, Hugging Face: {en: ..., de: ...}
    source, target               pair, with source_lang, target_lang (or src_lang, tgt_lang)
    text                         text

The first shape counts whose fields a row has; a field that is null counts as absent, and other fields may be there. Every shape
may have id, licence (license), language, document (doc_id); ShareGPT and Alpaca also `system`.
"""

from collections.abc import Callable, Mapping
from typing import Any

from tower_rl.data.corpus.readers.part import BadRow, Part, Record, code, filled, shown, text_of

Row = Mapping[str, Any]
Message = dict[str, str]

_ROLES = {"system": "system", "user": "user", "assistant": "assistant"}
_SHAREGPT_ROLES = {**_ROLES, "human": "user", "gpt": "assistant", "chatgpt": "assistant"}


def record(part: Part[Any], number: int, row: object, language: str) -> Record:
    """Makes a record of a row.

    Args:
        part: where it was read.
        number: its place in the file, from 1; also its position in the document that it names.
        row: the row; anything but an object is a bad row.
        language: of texts and chats that name none; may be "".

    Raises BadRow.
    """
    if not isinstance(row, dict):
        raise BadRow("read: wrong type", "the row is no object")
    given = {field: row[field] for field in FIELDS if row.get(field) is not None}
    document = _name(given, "document", "doc_id")
    return Record(
        id=part.row_id(number, _name(given, "id")),
        licence=_name(given, "licence", "license"),
        document=f"{part.name}/{document}" if document else "",
        position=number,
        **_content(given, language),
    )


def _content(row: Row, language: str) -> dict[str, Any]:
    for fields, shape in _SHAPES.items():
        if all(field in row for field in fields):
            return shape(row, language)
    for fields in _SHAPES:
        missing = [field for field in fields if field not in row]
        if 0 < len(missing) < len(fields):
            present = next(field for field in fields if field in row)
            raise BadRow("read: missing field", f"missing field {missing[0]!r}, which goes with {present!r}")
    raise BadRow("read: missing field", f"no known shape; one needs {'; or '.join(', '.join(fields) for fields in _SHAPES)}")


def _messages(row: Row, language: str) -> dict[str, Any]:
    return _chat(row, language, _turns(row["messages"], "messages", "role", "content", _ROLES))


def _sharegpt(row: Row, language: str) -> dict[str, Any]:
    return _chat(row, language, _system(row) + _turns(row["conversations"], "conversations", "from", "value", _SHAREGPT_ROLES))


def _alpaca(row: Row, language: str) -> dict[str, Any]:
    task, given = filled(row["instruction"], "instruction"), text_of(row.get("input", ""), "input")
    user = f"{task}\n\n{given}" if given.strip() else task
    answer = filled(row["output"], "output")
    return _chat(row, language, [*_system(row), _message("user", user), _message("assistant", answer)])


def _completion(row: Row, language: str) -> dict[str, Any]:
    sides = (("prompt", "user"), ("completion", "assistant"))
    return _chat(row, language, [message for field, role in sides for message in _side(row[field], field, role)])


def _side(value: object, field: str, role: str) -> list[Message]:
    if isinstance(value, str):
        return [_message(role, filled(value, field))]
    return _turns(value, field, "role", "content", _ROLES)


def _translation(row: Row, language: str) -> dict[str, Any]:
    value = row["translation"]
    if not isinstance(value, dict):
        raise BadRow("read: wrong type", "translation is no object of languages and texts")
    texts = {tag: text for tag, text in value.items() if text is not None}
    if len(texts) != 2:
        raise BadRow("read: wrong type", f"translation has {len(texts)} languages; a pair has two")
    (first, original), (second, translation) = texts.items()
    return _pair(first, original, second, translation, ("translation", "translation"))


def _source_target(row: Row, language: str) -> dict[str, Any]:
    tags = []
    for fields in (("source_lang", "src_lang"), ("target_lang", "tgt_lang")):
        if not (tag := _name(row, *fields)):
            raise BadRow("read: missing field", f"missing field {fields[0]!r} (or {fields[1]!r}), which goes with 'source'")
        tags.append(tag)
    return _pair(tags[0], row["source"], tags[1], row["target"], ("source", "target"))


def _text(row: Row, language: str) -> dict[str, Any]:
    return {"kind": "text", "language": _language(row, language), "text": filled(row["text"], "text")}


_SHAPES: dict[tuple[str, ...], Callable[[Row, str], dict[str, Any]]] = {
    ("messages",): _messages,
    ("conversations",): _sharegpt,
    ("instruction", "output"): _alpaca,
    ("prompt", "completion"): _completion,
    ("translation",): _translation,
    ("source", "target"): _source_target,
    ("text",): _text,
}
_OPTIONAL = ("id", "licence", "license", "language", "document", "doc_id", "system", "input")
_TAGS = ("source_lang", "src_lang", "target_lang", "tgt_lang")
FIELDS = (*(field for fields in _SHAPES for field in fields), *_OPTIONAL, *_TAGS)
"""All that is looked at in a row."""


def _pair(first: str, original: object, second: str, translation: object, fields: tuple[str, str]) -> dict[str, Any]:
    return {
        "kind": "pair",
        "language": f"{code(first)}-{code(second)}",
        "original": filled(original, fields[0]),
        "translation": filled(translation, fields[1]),
    }


def _chat(row: Row, language: str, messages: list[Message]) -> dict[str, Any]:
    turns = [message["role"] for message in messages]
    if turns[:1] == ["system"]:
        turns = turns[1:]
    for place, role in enumerate(turns):
        if role != ("user", "assistant")[place % 2]:
            raise BadRow(
                "read: broken turns", f"turn {place + 1} is the {role}'s; user and assistant take turns, the user begins"
            )
    if len(turns) % 2 or not turns:
        raise BadRow("read: broken turns", "the last message is not the assistant's")
    return {"kind": "chat", "language": _language(row, language), "messages": tuple(messages)}


def _turns(value: object, field: str, role_key: str, text_key: str, roles: Mapping[str, str]) -> list[Message]:
    if not isinstance(value, list):
        raise BadRow("read: wrong type", f"{field} is no list")
    if not value:
        raise BadRow("read: empty", f"{field} is empty")
    return [_turn(f"message {place}", turn, role_key, text_key, roles) for place, turn in enumerate(value, start=1)]


def _turn(name: str, turn: object, role_key: str, text_key: str, roles: Mapping[str, str]) -> Message:
    if not isinstance(turn, dict):
        raise BadRow("read: wrong type", f"{name} is no object")
    for key in (role_key, text_key):
        if key not in turn:
            raise BadRow("read: missing field", f"{name} has no {key!r}")
    role = turn[role_key]
    if not isinstance(role, str) or role not in roles:
        raise BadRow("read: unknown role", f"{name} has the role {shown(role)}; roles are {', '.join(roles)}")
    if turn.get("tool_calls"):
        raise BadRow("read: unknown role", f"{name} calls tools, which are not trained")
    return _message(roles[role], filled(turn[text_key], f"the text of {name}"))


def _system(row: Row) -> list[Message]:
    text = text_of(row.get("system", ""), "system")
    return [_message("system", text)] if text.strip() else []


def _message(role: str, text: str) -> Message:
    return {"role": role, "content": text}


def _language(row: Row, otherwise: str) -> str:
    tag = _name(row, "language")
    return code(tag) if tag else otherwise


def _name(row: Row, *fields: str) -> str:
    """The first of these fields that the row has, which may be a whole number; "" where it has none."""
    for field in fields:
        if field in row:
            value = row[field]
            return str(value) if isinstance(value, int) and not isinstance(value, bool) else text_of(value, field)
    return ""
