"""Shapes of rows, by JSON lines."""

import pytest

from tower_rl.config.corpora import JsonlCorpus
from tower_rl.data.corpus.readers import shapes
from tower_rl.data.corpus.readers.part import BadRow, Part, Record

PART = Part("c", JsonlCorpus(kind="jsonl", path="rows.jsonl"), ("folder/rows.jsonl",), "rows.jsonl")
USER, ASSISTANT, SYSTEM = ({"role": role, "content": f"{role}!"} for role in ("user", "assistant", "system"))


def record(row: object, language: str = "") -> Record:
    return shapes.record(PART, 7, row, language)


def chat(**row: object) -> list[tuple[str, str]]:
    made = record(row)
    assert made.kind == "chat"
    return [(message["role"], message["content"]) for message in made.messages]


def test_messages() -> None:
    expected = [("system", "system!"), ("user", "user!"), ("assistant", "assistant!")]
    assert chat(messages=[SYSTEM, USER, ASSISTANT]) == expected
    assert (
        chat(messages=[{**USER, "name": "Ada", "tool_calls": None}, ASSISTANT], prompt="user!", text="rendered") == expected[1:]
    )
    assert len(chat(messages=[USER, ASSISTANT] * 3)) == 6


def test_sharegpt() -> None:
    turns = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Ho"}]
    assert chat(conversations=turns) == [("user", "Hi"), ("assistant", "Ho")]
    assert chat(conversations=turns, system="Be short.")[0] == ("system", "Be short.")
    assert chat(conversations=[{"from": "system", "value": "S"}, *turns])[0] == ("system", "S")


def test_alpaca() -> None:
    assert chat(instruction="Add", input="1 2", output="3") == [("user", "Add\n\n1 2"), ("assistant", "3")]
    assert chat(instruction="Add", input=" ", output="3") == [("user", "Add"), ("assistant", "3")]
    assert chat(instruction="Add", input=None, output="3", system="S")[0] == ("system", "S")


def test_prompt_and_completion() -> None:
    assert chat(prompt="Q", completion="A") == [("user", "Q"), ("assistant", "A")]
    assert chat(prompt=[SYSTEM, USER], completion=[ASSISTANT])[1:] == [("user", "user!"), ("assistant", "assistant!")]
    assert chat(prompt=[USER], completion="A") == [("user", "user!"), ("assistant", "A")]


@pytest.mark.parametrize(
    "row",
    [
        {"source": "Hello", "target": "Olá", "source_lang": "en-US", "target_lang": "pt-BR"},
        {"source": "Hello", "target": "Olá", "src_lang": "en", "tgt_lang": "pt_BR", "text": None, "origin": "x"},
        {"translation": {"en": "Hello", "pt-BR": "Olá"}},
        {"translation": {"en": "Hello", "de": None, "pt-BR": "Olá"}, "source": "some site"},
    ],
)
def test_pairs(row: object) -> None:
    made = record(row, "de")
    assert (made.kind, made.language, made.original, made.translation) == ("pair", "en-pt_BR", "Hello", "Olá")


def test_text_and_what_every_shape_may_have() -> None:
    made = record({"text": "Hallo", "id": 17, "license": "MIT", "language": "de-DE", "doc_id": "book", "source": "web"}, "en")
    assert made == Record("c/rows.jsonl:7#17", "text", "de", text="Hallo", document="c/book", position=7, licence="MIT")
    assert record({"text": "Hello"}, "en") == Record("c/rows.jsonl:7", "text", "en", text="Hello", position=7)
    assert record({"text": "Hello"}).language == ""
    assert record({"messages": [USER, ASSISTANT], "language": "fr"}).language == "fr"


MISSING = "missing field"


@pytest.mark.parametrize(
    ("row", "reason", "detail"),
    [
        ([], "wrong type", "the row is no object"),
        ("text", "wrong type", "the row is no object"),
        ({}, MISSING, "no known shape; one needs messages; or conversations; or instruction, output; or prompt"),
        ({"txt": "a"}, MISSING, "no known shape"),
        ({"text": None}, MISSING, "no known shape"),
        ({"instruction": "Add"}, MISSING, "missing field 'output', which goes with 'instruction'"),
        ({"completion": "A"}, MISSING, "missing field 'prompt', which goes with 'completion'"),
        ({"source": "a", "target": "b"}, MISSING, "missing field 'source_lang' (or 'src_lang')"),
        ({"source": "a", "target": "b", "src_lang": "en"}, MISSING, "missing field 'target_lang' (or 'tgt_lang')"),
        ({"source": "a", "src_lang": "en", "tgt_lang": "de"}, MISSING, "missing field 'target'"),
        ({"text": 5}, "wrong type", "text is no string"),
        ({"text": ["a"]}, "wrong type", "text is no string"),
        ({"text": "a", "id": 1.5}, "wrong type", "id is no string"),
        ({"text": "a", "id": True}, "wrong type", "id is no string"),
        ({"text": "a", "licence": ["MIT"]}, "wrong type", "licence is no string"),
        ({"text": "a", "language": "English"}, "unknown language", "'English' is no language tag"),
        ({"text": "a", "language": "\ud800"}, "invalid UTF-8", "language has a lone surrogate"),
        ({"text": " \n"}, "empty", "text is empty"),
        ({"text": "a\ud800b"}, "invalid UTF-8", "text has a lone surrogate"),
        ({"text": "a", "id": "\udfff"}, "invalid UTF-8", "id has a lone surrogate"),
        ({"translation": "Hallo"}, "wrong type", "translation is no object"),
        ({"translation": {"en": "a"}}, "wrong type", "translation has 1 languages; a pair has two"),
        ({"translation": {"en": "a", "de": "b", "fr": "c"}}, "wrong type", "translation has 3 languages"),
        ({"translation": {"en": "a", "??": "b"}}, "unknown language", "'??' is no language tag"),
        ({"translation": {"en": "a", "\ud800": "b"}}, "unknown language", "'\\ud800' is no language tag"),
        ({"translation": {"en": "a", "de": ""}}, "empty", "translation is empty"),
        ({"source": "", "target": "b", "src_lang": "en", "tgt_lang": "de"}, "empty", "source is empty"),
        ({"messages": "Hi"}, "wrong type", "messages is no list"),
        ({"messages": []}, "empty", "messages is empty"),
        ({"messages": ["Hi"]}, "wrong type", "message 1 is no object"),
        ({"messages": [{"role": "user"}]}, MISSING, "message 1 has no 'content'"),
        ({"messages": [{"content": "Hi"}]}, MISSING, "message 1 has no 'role'"),
        ({"messages": [USER, {"role": "assistant", "content": None}]}, "wrong type", "the text of message 2 is no string"),
        ({"messages": [USER, {"role": "assistant", "content": " "}]}, "empty", "the text of message 2 is empty"),
        (
            {"messages": [USER, {"role": "tool", "content": "1"}]},
            "unknown role",
            "message 2 has the role 'tool'; roles are system",
        ),
        ({"messages": [USER, {"role": 5, "content": "1"}]}, "unknown role", "message 2 has the role 5"),
        ({"messages": [USER, {**ASSISTANT, "tool_calls": [{}]}]}, "unknown role", "message 2 calls tools"),
        ({"messages": [USER]}, "broken turns", "the last message is not the assistant's"),
        ({"messages": [SYSTEM]}, "broken turns", "the last message is not the assistant's"),
        ({"messages": [ASSISTANT]}, "broken turns", "turn 1 is the assistant's"),
        ({"messages": [USER, USER, ASSISTANT]}, "broken turns", "turn 2 is the user's"),
        ({"messages": [USER, ASSISTANT, SYSTEM, USER, ASSISTANT]}, "broken turns", "turn 3 is the system's"),
        ({"conversations": [{"from": "function", "value": "1"}]}, "unknown role", "message 1 has the role 'function'"),
        ({"conversations": [{"role": "user", "content": "Hi"}]}, MISSING, "message 1 has no 'from'"),
        ({"instruction": "", "output": "3"}, "empty", "instruction is empty"),
        ({"instruction": "Add", "input": 3, "output": "3"}, "wrong type", "input is no string"),
        ({"prompt": 3, "completion": "A"}, "wrong type", "prompt is no list"),
        ({"prompt": "Q", "completion": ""}, "empty", "completion is empty"),
    ],
)
def test_bad_rows(row: object, reason: str, detail: str) -> None:
    with pytest.raises(BadRow) as caught:
        record(row)
    assert caught.value.reason == f"read: {reason}"
    assert caught.value.detail.startswith(detail)
    assert caught.value.detail.encode("utf-8")


def test_a_message_stays_short_whatever_the_row_is() -> None:
    with pytest.raises(BadRow) as caught:
        record({"messages": [{"role": "x" * 10_000, "content": "Hi"}]})
    assert len(caught.value.detail) < 200
