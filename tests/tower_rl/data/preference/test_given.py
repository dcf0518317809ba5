"""Answers that the data give: good rows of each shape, every kind of bad row."""

import json
from pathlib import Path

import pytest

from tower_rl.config.schema import JsonlSource
from tower_rl.data import jsonl
from tower_rl.data.preference.given import read
from tower_rl.data.rows import Answer, DataError, Row

PAIR = {"prompt": "Say hello.", "chosen": "Hello!", "rejected": "Hm."}
POST_EDIT, MACHINE = {"text": "Hallo!", "origin": "post_edit", "score": 0.9}, {"text": "Hello!", "origin": "machine"}
LIST = {"prompt": "Translate: Hello!", "answers": [POST_EDIT, MACHINE]}
USER, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "Hi"), ("assistant", "Hello"), ("assistant", "Hm"))
)
CHATS = {"chosen": [USER, GOOD], "rejected": [USER, BAD]}


def write(path: Path, *lines: bytes | dict, **facts: str) -> JsonlSource:
    path.write_bytes(b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines))
    return JsonlSource(kind="jsonl", path=str(path), **facts)


def only(tmp_path: Path, line: dict) -> Row:
    (row,), rejects = read("mine", write(tmp_path / "a.jsonl", line))
    assert rejects == []
    return row


def test_two_sides(tmp_path: Path) -> None:
    row = only(tmp_path, PAIR)
    assert row == Row(
        "mine/1",
        ({"role": "user", "content": "Say hello."},),
        "",
        None,
        {},
        (Answer("Hello!", "chosen", None), Answer("Hm.", "rejected", None)),
    )
    scored = only(tmp_path, PAIR | {"chosen_score": 8, "rejected_score": 2.5})
    assert [answer.score for answer in scored.answers] == [8.0, 2.5]


def test_a_list_of_answers_with_all_that_a_task_can_say(tmp_path: Path) -> None:
    meta = {"source_lang": "en", "target_lang": "de"}
    messages = [{"role": "system", "content": "Be brief."}, USER]
    line = {"id": "one", "messages": messages, "verifier": "w", "reference": "Hallo", "meta": meta, "answers": LIST["answers"]}
    row = only(tmp_path, line)
    answers = (Answer("Hallo!", "post_edit", 0.9), Answer("Hello!", "machine", None))
    assert row == Row("mine/one", tuple(messages), "w", "Hallo", meta, answers)
    assert row.language_pair == "en-de" and isinstance(row, Row)


def test_one_answer_is_enough_to_compete_with_samples(tmp_path: Path) -> None:
    assert len(only(tmp_path, LIST | {"answers": [POST_EDIT]}).answers) == 1


def test_the_source_names_the_verifier_of_rows_that_name_none(tmp_path: Path) -> None:
    rows, _ = read("mine", write(tmp_path / "a.jsonl", PAIR, {**LIST, "verifier": "own"}, verifier="default"))
    assert [row.verifier for row in rows] == ["default", "own"]


@pytest.mark.parametrize(
    "line",
    [
        CHATS,
        CHATS | {"prompt": "Hi", "prompt_id": "x", "messages": [USER, GOOD], "score_chosen": 8.0, "score_rejected": 7.0},
        CHATS | {"messages": [USER]},
        {"messages": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "Hi", "chosen": [GOOD], "rejected": [BAD]},
    ],
)
def test_conversations(tmp_path: Path, line: dict) -> None:
    row = only(tmp_path, line)
    assert row.messages == (USER,)
    assert [(answer.text, answer.origin) for answer in row.answers] == [("Hello", "chosen"), ("Hm", "rejected")]
    assert row.id == ("mine/x" if "prompt_id" in line else "mine/1")
    assert [answer.score for answer in row.answers] == ([8.0, 7.0] if "score_chosen" in line else [None, None])


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": ', "broken JSON"),
        (b'{"prompt": "\xff"}', "invalid UTF-8"),
        (b'{"prompt": "x", "chosen": "\\ud800", "rejected": "y"}', "invalid UTF-8"),
        (b"[]", "no JSON object"),
        ({"chosen": "x", "rejected": "y"}, "missing field 'messages' (or 'prompt')"),
        ({"prompt": "x"}, "missing field 'chosen' (or 'answers')"),
        ({"prompt": "x", "chosen": "y"}, "missing field 'rejected'"),
        ({"prompt": "x", "rejected": "y"}, "missing field 'chosen'"),
        (PAIR | {"rejected": "Hello! "}, "'chosen' and 'rejected' are equal"),
        (PAIR | {"chosen": " "}, "the text of 'chosen' is empty"),
        (PAIR | {"rejected": "\u200b"}, "the text of 'rejected' is empty"),
        (PAIR | {"rejected": 3}, "the text of 'rejected' is no string"),
        (PAIR | {"rejected": None}, "the text of 'rejected' is no string"),
        (PAIR | {"chosen_score": "8"}, "the score of 'chosen' is no finite number"),
        (PAIR | {"chosen_score": True}, "the score of 'chosen' is no finite number"),
        (PAIR | {"chosen_score": None}, "the score of 'chosen' is no finite number"),
        (PAIR | {"rejected_score": float("nan")}, "the score of 'rejected' is no finite number"),
        (PAIR | {"rejected_score": 10**400}, "the score of 'rejected' is no finite number"),
        (PAIR | {"chosen_score": 1, "rejected_score": 2}, "'chosen' scores 1, less than 'rejected' with 2"),
        (PAIR | {"chosen_score": 1, "score_chosen": 1}, "'chosen_score' stands there twice, by two names"),
        (PAIR | {"answers": [MACHINE]}, "both 'answers' and 'chosen'"),
        (LIST | {"rejected_score": 1}, "both 'answers' and 'rejected_score'"),
        (LIST | {"answers": []}, "'answers' is no list, or empty"),
        (LIST | {"answers": "x"}, "'answers' is no list"),
        (LIST | {"answers": [POST_EDIT, "x"]}, "answer 1 is no object with 'text', 'origin'"),
        (LIST | {"answers": [{"text": "x"}]}, "answer 0 is no object with 'text', 'origin'"),
        (LIST | {"answers": [MACHINE | {"by": "x"}]}, "answer 0 is no object with 'text', 'origin' and nothing else"),
        (LIST | {"answers": [MACHINE | {"origin": ""}]}, "the origin of answer 0 is no string, or empty"),
        (LIST | {"answers": [MACHINE | {"origin": 1}]}, "the origin of answer 0 is no string"),
        (LIST | {"answers": [MACHINE | {"origin": "policy@1"}]}, "which is kept for the run's own samples"),
        (LIST | {"answers": [MACHINE | {"origin": "off_policy"}]}, "which is kept for the run's own samples"),
        (LIST | {"answers": [MACHINE | {"text": "\n"}]}, "the text of answer 0 is empty"),
        (LIST | {"answers": [MACHINE | {"score": "good"}]}, "the score of answer 0 is no finite number"),
        (PAIR | {"meta": []}, "'meta' is no object"),
        (PAIR | {"id": "first"}, "the id of 'mine/first' stands in the file twice"),
        (PAIR | {"chosn": "x"}, "unknown field 'chosn'"),
        (CHATS | {"rejected": "Hm"}, "'rejected' is no list"),
        (CHATS | {"rejected": []}, "'rejected' is no list, or empty"),
        (CHATS | {"rejected": [{"role": "user", "content": "other"}, BAD]}, "answer different messages"),
        (CHATS | {"rejected": [USER]}, "the last message of 'rejected' is not the assistant's"),
        (CHATS | {"chosen": [USER, {"role": "assistant"}]}, "exactly 'role' and 'content'"),
        (CHATS | {"chosen": [USER, GOOD | {"content": ""}]}, "is empty"),
        (CHATS | {"rejected": [USER, GOOD]}, "'chosen' and 'rejected' are equal"),
        (CHATS | {"prompt": "Other"}, "'prompt' is not what 'chosen' answers"),
        (CHATS | {"messages": [USER, BAD]}, "'messages' are not those of 'chosen'"),
        ({"chosen": [GOOD], "rejected": [BAD]}, "missing field 'messages' (or 'prompt')"),
        ({"chosen": [USER, GOOD, GOOD], "rejected": [USER, GOOD, BAD]}, "the last message is not the user's"),
    ],
)
def test_a_bad_row_is_set_aside_with_line_and_reason(tmp_path: Path, line: bytes | dict, reason: str) -> None:
    source = write(tmp_path / "a.jsonl", PAIR | {"id": "first"}, line, LIST | {"id": "third"})
    rows, (reject,) = read("mine", source)
    assert [row.id for row in rows] == ["mine/first", "mine/third"]
    assert (reject.source, reject.place, reject.reason) == ("mine", f"{source.path}:2", "bad row")
    assert reason in reject.detail


def test_the_share_of_bad_rows_stops(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", *[PAIR] * 9, b"{")
    rows, rejects = read("mine", source)
    with pytest.raises(DataError, match=r"'mine': 1 of 10 rows are bad, more than max_rejects = 0\.01(.|\n)*a\.jsonl:10: broken"):
        jsonl.check_rejects("mine", source, len(rows), rejects)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"source 'mine': .*nothing\.jsonl cannot be read: No such file"):
        read("mine", JsonlSource(kind="jsonl", path=str(tmp_path / "nothing.jsonl")))
