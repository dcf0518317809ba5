"""Answers that the data give: JSON lines with a task as in data/jsonl.py, and two answers or more to it.

Answers stand as `chosen` and `rejected`, with or without `chosen_score` and `rejected_score`, or as `answers`, a list of
`{text, origin}` or `{text, origin, score}`. In place of a text, `chosen` and `rejected` may be whole conversations whose last
message is the answer, as in UltraFeedback's binarized form; its own names for the scores and the id are known as well.
"""

import sys
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

from tower_rl.config.schema import AnswersSource
from tower_rl.data import jsonl
from tower_rl.data.jsonl import BadRow
from tower_rl.data.preference.likeness import equal, plain
from tower_rl.data.preference.types import OFF_POLICY, is_policy
from tower_rl.data.rows import Answer, Reject, Row

SIDES = ("chosen", "rejected")
"""Origins of answers of which the data say nothing but which is the better; as an order for the rule `ranked`."""

_FIELDS = (*jsonl.FIELDS, "chosen", "rejected", "chosen_score", "rejected_score", "answers")
_OTHER_NAMES = {"prompt_id": "id", "score_chosen": "chosen_score", "score_rejected": "rejected_score"}


def read(name: str, source: AnswersSource) -> tuple[list[Row], list[Reject]]:
    """Rows of the file in its order, and the lines that are none; `jsonl.check_rejects` stops where they are too many.

    Raises DataError when the file cannot be read.
    """
    return jsonl.read_rows(name, source.path, partial(_row, name, source.verifier or ""))


def _row(name: str, verifier: str, number: int, value: dict[str, Any]) -> Row:
    value = _plain(_renamed(value))
    jsonl.check_fields(value, _FIELDS)
    task = jsonl.task(name, verifier, number, value)
    answers = _listed(value) if "answers" in value else _sides(value)
    return replace(task, answers=answers)


def _renamed(value: Mapping[str, Any]) -> dict[str, Any]:
    renamed: dict[str, Any] = {}
    for name, content in value.items():
        known = _OTHER_NAMES.get(name, name)
        if known in renamed:
            raise BadRow(f"{known!r} stands there twice, by two names")
        renamed[known] = content
    return renamed


def _plain(value: dict[str, Any]) -> dict[str, Any]:
    """Conversations as what the model is asked and what it answers; what else the row says of them must be the same."""
    if not isinstance(value.get("chosen"), list):
        return value
    for side in SIDES:
        jsonl.check_messages(side, value.get(side))
        if value[side][-1]["role"] != "assistant":
            raise BadRow(f"the last message of {side!r} is not the assistant's")
    before = value["chosen"][:-1]
    if value["rejected"][:-1] != before:
        raise BadRow("'chosen' and 'rejected' answer different messages")
    plain = value | {side: value[side][-1]["content"] for side in SIDES}
    if not before:
        return plain
    if plain.pop("prompt", before[-1]["content"]) != before[-1]["content"]:
        raise BadRow("'prompt' is not what 'chosen' answers")
    if plain.get("messages", before) not in (before, value["chosen"]):
        raise BadRow("'messages' are not those of 'chosen'")
    return plain | {"messages": before}


def _sides(value: Mapping[str, Any]) -> tuple[Answer, ...]:
    missing = [side for side in SIDES if side not in value]
    if missing:
        raise BadRow(f"missing field {missing[0]!r}" + (" (or 'answers')" if len(missing) == 2 else ""))
    better, worse = (_answer(value[side], side, value, f"{side}_score", repr(side)) for side in SIDES)
    if equal(better.text, worse.text):
        raise BadRow("'chosen' and 'rejected' are equal")
    if better.score is not None and worse.score is not None and better.score < worse.score:
        raise BadRow(f"'chosen' scores {better.score:g}, less than 'rejected' with {worse.score:g}")
    return better, worse


def _listed(value: Mapping[str, Any]) -> tuple[Answer, ...]:
    both = sorted({"chosen", "rejected", "chosen_score", "rejected_score"} & set(value))
    if both:
        raise BadRow(f"both 'answers' and {both[0]!r}")
    if not isinstance(value["answers"], list) or not value["answers"]:
        raise BadRow("'answers' is no list, or empty")
    return tuple(_one(f"answer {place}", each) for place, each in enumerate(value["answers"]))


def _one(what: str, value: Any) -> Answer:
    if not isinstance(value, dict) or set(value) | {"score"} != {"text", "origin", "score"}:
        raise BadRow(f"{what} is no object with 'text', 'origin' and nothing else but 'score'")
    origin = value["origin"]
    if not isinstance(origin, str) or not origin.strip():
        raise BadRow(f"the origin of {what} is no string, or empty")
    if is_policy(origin) or origin == OFF_POLICY:
        raise BadRow(f"the origin of {what} is {origin!r}, which is kept for the run's own samples and rules")
    return _answer(value["text"], origin, value, "score", what)


def _answer(text: Any, origin: str, value: Mapping[str, Any], score: str, what: str) -> Answer:
    if not isinstance(text, str):
        raise BadRow(f"the text of {what} is no string")
    if not plain(text):
        raise BadRow(f"the text of {what} is empty")
    return Answer(text, origin, _number(value[score], what) if score in value else None)


def _number(value: Any, what: str) -> float:
    most = sys.float_info.max  # NaN and the infinities, which json reads, are not within it
    if isinstance(value, bool) or not isinstance(value, int | float) or not -most <= value <= most:
        raise BadRow(f"the score of {what} is no finite number")
    return float(value)
