"""verifiers.constraints: every rule, its instruction, and what must not pass."""

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict
from verifiers.constraints import RULES, instruction, judge, sample_rules

CASES = {
    "lowercase": ({}, ["all in small letters, 3 of them", "ganz klein"], ["Almost all", "123", "ALL", "日本語"]),
    "uppercase": ({}, ["ALL BIG", "GROSS, 3 MAL"], ["Almost", "123", "all"]),
    "max_words": ({"words": 3}, ["one two three", "it's well-known"], ["one two three four", "..."]),
    "min_words": ({"words": 3}, ["one two three", "eins zwei drei vier"], ["one two", "- - -", "one\u200btwo\u200bthree"]),
    "no_commas": ({}, ["one and two"], ["one, two", "一，二", "نعم، لا", "..."]),
    "contains": ({"word": "river", "times": 2}, ["River to river.", "river RIVER"], ["river", "rivers river", "r\u200biver"]),
    "ends_with": ({"phrase": "The end."}, ["So it is. The end.", "The end.\n"], ["The end. Or not", "the end", "The end.."]),
    "json_object": (
        {},
        ['{"a": [1, 2]}', ' {"a": null}\n'],
        ['{"a": 1, "a": 2}', '{"a": NaN}', "{}", "[1]", 'Here: {"a": 1}', '{"a": 1} {"b": 2}', "{'a': 1}",
         "[" * 50_000, '```json\n{"a":1}\n```'],
    ),
    "n_bullets": ({"bullets": 2}, ["- one\n- two", "* one\n  * two\ntext"], ["- one", "- a\n- b\n- c", "-one\n-two", "one\ntwo"]),
    "n_sentences": ({"sentences": 2}, ["One. Two!", "Eins? Zwei", "一。二。"], ["One", "One. Two. Three.", "... ... a"]),
}  # fmt: skip


def check(text: str, *rules: dict[str, object]) -> Verdict:
    return judge(Task("", text, meta={"rules": list(rules)}))


def test_every_rule_has_cases() -> None:
    assert set(CASES) == set(RULES)


@pytest.mark.parametrize("name", CASES)
def test_rule(name: str) -> None:
    args, right, wrong = CASES[name]
    rule = {"rule": name, **args}
    for text in right:
        assert check(text, rule).passed is True, text
    for text in wrong:
        verdict = check(text, rule)
        assert verdict.score is not None
        assert verdict.score < 1.0, text
        assert instruction(rule) in verdict.reason


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("empty", ["", "  \n ", "\u200b\u200d\u2060"])
def test_empty_fails_every_rule(name: str, empty: str) -> None:
    assert check(empty, {"rule": name, **CASES[name][0]}).score == 0.0


def test_partial_credit_rises_towards_the_goal() -> None:
    ladders: list[tuple[dict[str, object], list[str]]] = [
        ({"rule": "lowercase"}, ["ALL BIG", "All Big", "all big"]),
        ({"rule": "min_words", "words": 4}, ["one", "one two", "one two three", "one two three four"]),
        ({"rule": "max_words", "words": 2}, ["a b c d e f", "a b c", "a b"]),
        ({"rule": "n_bullets", "bullets": 3}, ["none", "- a", "- a\n- b", "- a\n- b\n- c"]),
        ({"rule": "contains", "word": "river", "times": 2}, ["sea", "river", "river river"]),
    ]
    for rule, texts in ladders:
        scores = [check(text, rule).score or 0.0 for text in texts]
        assert scores == sorted(set(scores)), (rule, scores)
        assert scores[-1] == 1.0


def test_mean_over_the_rules_and_a_part_for_each() -> None:
    verdict = check("one two three four", {"rule": "lowercase"}, {"rule": "max_words", "words": 2})
    assert verdict.score == 0.75
    assert verdict.passed is False
    assert verdict.parts == {"0.lowercase": 1.0, "1.max_words": 0.5}
    assert verdict.reason == "not met: Use at most 2 words."


@pytest.mark.parametrize(
    "rules",
    [None, [], "lowercase", [{"rule": "nonsense"}], ["lowercase"], [{"rule": "max_words"}], [{"rule": "max_words", "words": "5"}],
     [{"rule": "max_words", "words": True}], [{"rule": "lowercase", "words": 5}]],
)  # fmt: skip
def test_wrong_rules_are_invalid(rules: object) -> None:
    assert judge(Task("", "text", meta={"rules": rules})).status is Status.INVALID
    assert judge(Task("", "text")).status is Status.INVALID


def test_sampled_rules_are_valid_data_with_an_instruction_each() -> None:
    for seed in range(50):
        rules = sample_rules(random.Random(seed), 3)
        assert rules == json.loads(json.dumps(rules))
        assert rules == sample_rules(random.Random(seed), 3)
        assert len({rule["rule"] for rule in rules}) == 3
        assert all(instruction(rule).endswith((".", '"')) for rule in rules)
        assert check("some text", *rules).status is Status.SCORED
    with pytest.raises(ValueError, match="go together"):
        sample_rules(random.Random(0), 10)


@settings(max_examples=100, deadline=None)
@given(st.text(), st.integers(0, 1000))
def test_any_text_gets_a_score(text: str, seed: int) -> None:
    assert check(text, *sample_rules(random.Random(seed), 2)).status is Status.SCORED
