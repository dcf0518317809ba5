"""verifiers.structure: the shapes that pass, each way to miss one, and what an attacker would send."""

import json
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict, load, verify
from verifiers.registry import WrongOption

SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer", "minimum": 0}},
    "required": ["name"],
    "additionalProperties": False,
}
TREE = {"type": "array", "items": {"$ref": "#"}}


def judge(name: str, response: str, meta: dict[str, Any] | None = None, **options: object) -> Verdict:
    (verdict,) = verify(load(f"verifiers.structure:{name}", **options), [Task("", response, meta=meta or {})])
    return verdict


@pytest.mark.parametrize(
    "response",
    ["<think>because</think><answer>5</answer>", "\n<think>\na < b\n</think>\n<answer>5</answer> \n"],
)
def test_format_right(response: str) -> None:
    assert judge("Format", response).score == 1.0


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "<think> occurs 0 times"),
        ("5", "<think> occurs 0 times"),
        ("<think>a</think>5", "<answer> occurs 0 times"),
        ("<think>a</think><answer>5", "</answer> occurs 0 times"),
        ("<think>a<answer>5</answer>", "</think> occurs 0 times"),
        ("<think>a</think><think>b</think><answer>5</answer>", "<think> occurs 2 times"),
        ("<think>a</think><answer>4</answer><answer>5</answer>", "<answer> occurs 2 times"),
        ("<answer>5</answer><think>a</think>", "not in order"),
        ("<think>a<answer>5</think></answer>", "not in order"),
        ("<think><answer>5</answer></think>", "not in order"),
        ("Sure! <think>a</think><answer>5</answer>", "outside"),
        ("<think>a</think> so <answer>5</answer>", "outside"),
        ("<think>a</think><answer>5</answer>.", "outside"),
        ("<think>a</think><answer>5</answer>\u200b", "outside"),
        ("<think> </think><answer>5</answer>", "no text"),
        ("<think>a</think><answer>\u200b\n</answer>", "no text"),
        ("<thi\u200bnk>a</think><answer>5</answer>", "<think> occurs 0 times"),
        ("<THINK>a</THINK><ANSWER>5</ANSWER>", "<think> occurs 0 times"),
        ("<think>" * 100_000, "<think> occurs 100000 times"),
    ],
)
def test_format_wrong(response: str, reason: str) -> None:
    verdict = judge("Format", response)
    assert verdict.score == 0.0
    assert reason in verdict.reason


def test_format_takes_other_tags() -> None:
    options = {"think": "reasoning", "answer": "final"}
    assert judge("Format", "<reasoning>a</reasoning><final>b</final>", **options).passed is True
    assert judge("Format", "<think>a</think><answer>b</answer>", **options).passed is False
    for wrong in ({"think": "answer"}, {"think": ""}, {"answer": "a b"}, {"answer": "a|b"}):
        with pytest.raises(WrongOption):
            load("verifiers.structure:Format", **wrong)


@pytest.mark.parametrize("response", ['{"a": 1}', " [1, 2.5e3, null]\n", '"text"', "3", "true", "{}", r'"\ud800"'])
def test_json_right(response: str) -> None:
    assert judge("Json", response).passed is True


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ("", "not JSON"),
        ("\u200b", "not JSON"),
        ("\ufeff{}", "not JSON"),
        ('Here it is: {"a": 1}', "not JSON"),
        ('```json\n{"a": 1}\n```', "not JSON"),
        ('{"a": 1} {"b": 2}', "not JSON"),
        ("{'a': 1}", "not JSON"),
        ('{"a": 1,}', "not JSON"),
        ('{"a": 1, "a": 2}', "a key occurs twice"),
        ('{"a": {"b": 1, "b": 1}}', "a key occurs twice"),
        ("NaN", "no finite number"),
        ("[-Infinity]", "no finite number"),
        ("1e999", "no finite number"),
        ("9" * 5000, "not JSON"),
        ("[" * 33 + "]" * 33, "33 levels deep; at most 32"),
        ("[" * 50_000 + "]" * 50_000, "nested too deep"),
        ('"' + "x" * 100_000 + '"', "100002 characters; at most 100000"),
        ('{"a": "\ud800', "not JSON"),
    ],
)
def test_json_wrong(response: str, reason: str) -> None:
    verdict = judge("Json", response)
    assert verdict.score == 0.0
    assert reason in verdict.reason
    assert len(verdict.reason) <= 200


def test_json_limits_are_options() -> None:
    assert judge("Json", "[[1]]", max_depth=2).passed is True
    assert judge("Json", "[[1]]", max_depth=1).passed is False
    assert judge("Json", '{"a": [1]}', max_depth=1).passed is False
    assert judge("Json", "[1]", max_characters=2).passed is False


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        ('{"name": "Eva"}', ""),
        ('{"name": "Eva", "age": 5}', ""),
        ('{"age": 5}', "'name' is a required property"),
        ('{"name": 5}', "$.name: 5 is not of type 'string'"),
        ('{"name": "Eva", "age": -1}', "$.age: -1 is less than the minimum of 0"),
        ('{"name": "Eva", "extra": 1}', "Additional properties"),
        ("[]", "is not of type 'object'"),
    ],
)
def test_json_schema(response: str, reason: str) -> None:
    for verdict in (judge("Json", response, {"schema": SCHEMA}), judge("Json", response, json_schema=SCHEMA)):
        assert verdict.passed is (not reason)
        assert reason in verdict.reason


def test_the_schema_of_the_task_comes_first() -> None:
    assert judge("Json", "5", {"schema": {"type": "integer"}}, json_schema=SCHEMA).passed is True


def test_a_schema_may_refer_to_itself_alone() -> None:
    assert judge("Json", "[[], [[]]]", {"schema": TREE}).passed is True
    assert judge("Json", "[[], [5]]", {"schema": TREE}).passed is False


@pytest.mark.parametrize(
    "schema",
    [5, [], {"type": "text"}, {"$schema": 5}, {"$ref": "#"}, {"$ref": "#/nowhere"}, {"$ref": "https://example.org/schema"}],
)
def test_a_schema_that_cannot_be_applied_is_invalid(schema: object) -> None:
    good, bad = Task("", "5", meta={"schema": {"type": "integer"}}), Task("", "5", meta={"schema": schema})
    verdicts = verify(load("verifiers.structure:Json"), [bad, good])
    assert [verdict.status for verdict in verdicts] == [Status.INVALID, Status.SCORED]
    assert "JSON Schema" in verdicts[0].reason


def test_a_wrong_schema_option_is_an_error_at_the_start() -> None:
    with pytest.raises(WrongOption, match="not a JSON Schema"):
        load("verifiers.structure:Json", json_schema={"type": "text"})


def test_a_number_beyond_all_bounds_is_the_responses_fault() -> None:
    verdict = judge("Json", "9" * 400, {"schema": {"multipleOf": 0.1}})
    assert (verdict.score, verdict.reason) == (0.0, "a number is too large")


@pytest.mark.parametrize(
    ("count", "expected"),
    [(10, 1.0), (5, 0.5), (15, 0.5), (9, 0.9), (20, 0.0), (50, 0.0), (0, 0.0)],
)
def test_target_length(count: int, expected: float) -> None:
    verdict = judge("Length", "word " * count, target=10)
    assert verdict.score == pytest.approx(expected)
    assert verdict.passed is (expected == 1.0)
    assert judge("Length", "word " * count, {"length": 10}, target=99).score == pytest.approx(expected)
    assert judge("Length", "文" * count, target=10, unit="characters").score == pytest.approx(expected)


@pytest.mark.parametrize(("count", "expected"), [(1, 1.0), (80, 1.0), (85, 0.75), (90, 0.5), (100, 0.0), (500, 0.0), (0, 0.0)])
def test_overlong_penalty(count: int, expected: float) -> None:
    assert judge("Length", "word " * count, limit=100, buffer=20).score == pytest.approx(expected)


def test_target_and_limit_multiply() -> None:
    verdict = judge("Length", "word " * 9, target=10, limit=10, buffer=2)
    assert verdict.parts == pytest.approx({"target": 0.9, "limit": 0.5})
    assert verdict.score == pytest.approx(0.45)


def test_limit_without_buffer() -> None:
    assert [judge("Length", "word " * count, limit=3).score for count in (2, 3)] == [1.0, 0.0]


@pytest.mark.parametrize(
    "response",
    ["", " \n ", "\u200b" * 10, "one\u200btwo\u200bthree\u200bfour\u200bfive", "- " * 10, "o\u00adn\u00ade " + " " * 50],
)
def test_invisible_text_does_not_count(response: str) -> None:
    assert (judge("Length", response, target=10).score or 0.0) <= 0.1
    assert (judge("Length", response, target=100, unit="characters").score or 0.0) < 0.2


def test_length_needs_a_number() -> None:
    assert judge("Length", "word").status is Status.INVALID
    for wrong in (0, -1, "10", True, 1.5):
        assert judge("Length", "word", {"length": wrong}).status is Status.INVALID
    for options in ({"target": 0}, {"limit": 5, "buffer": 5}, {"buffer": 1}, {"unit": "tokens"}):
        with pytest.raises(WrongOption):
            load("verifiers.structure:Length", **options)


@pytest.mark.parametrize("response", ["x" * 2_000_000, "<think>" * 200_000, "[" * 1_000_000, "a-" * 500_000, " " * 1_000_000])
def test_huge_responses_cost_little(response: str) -> None:
    begin = time.process_time()
    for name, options in (("Format", {}), ("Json", {}), ("Length", {"target": 5})):
        assert (judge(name, response, **options).score or 0.0) <= 0.2  # one word for five
    assert time.process_time() - begin < 5


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(["<think>", "</think>", "<answer>", "</answer>", "a", " ", "\0"]), max_size=9).map("".join)
    | st.text()
)
def test_any_text_gets_a_verdict(response: str) -> None:
    for name, options in (("Format", {}), ("Json", {"json_schema": SCHEMA}), ("Length", {"target": 5, "limit": 9})):
        assert judge(name, response, **options).status is Status.SCORED


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()


@settings(max_examples=60, deadline=None)
@given(st.recursive(LEAVES, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=12))
def test_what_json_writes_is_json(value: object) -> None:
    assert judge("Json", json.dumps(value)).passed is True
