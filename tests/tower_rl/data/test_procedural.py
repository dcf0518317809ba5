"""Problems that a program makes."""

from typing import Any

import pytest

from tower_rl.config.schema import ConstraintSource, ReasoningGymSource
from tower_rl.data.procedural import TOPICS, constraint_rows, reasoning_gym_rows
from tower_rl.data.rows import DataError
from verifiers.constraints import RULES, judge
from verifiers.types import Task


def gym(**changes: Any) -> ReasoningGymSource:
    base = {"kind": "reasoning_gym", "task": "chain_sum", "size": 20, "verifier": "v"}
    return ReasoningGymSource.model_validate({**base, **changes})


def constraints(**changes: Any) -> ConstraintSource:
    base = {"kind": "constraints", "rules": ["max_words", "lowercase"], "size": 50, "verifier": "v"}
    return ConstraintSource.model_validate({**base, **changes})


def test_a_problem_has_question_instruction_and_answer() -> None:
    row = reasoning_gym_rows("sums", gym(instruction="Reply with the number only."), seed=3)[7]
    assert row.id == "sums/chain_sum/7"
    question, last = row.messages[0]["content"].rsplit("\n", 1)
    assert last == "Reply with the number only."
    assert eval(question.split(":")[1].rstrip("= ")) == int(row.reference)
    assert (row.meta, row.language_pair) == ({}, None)


def test_problems_depend_on_seed_and_options_alone() -> None:
    first = reasoning_gym_rows("sums", gym(), seed=3)
    assert len(first) == 20
    assert reasoning_gym_rows("sums", gym(), seed=3) == first
    assert reasoning_gym_rows("sums", gym(), seed=4) != first
    assert reasoning_gym_rows("sums", gym(size=5), seed=3) == first[:5]
    terms = reasoning_gym_rows("sums", gym(options={"min_terms": 2, "max_terms": 2}), seed=3)
    assert all(sum(row.messages[0]["content"].count(sign) for sign in ("+ ", "- ")) == 1 for row in terms)


def test_what_is_drawn_twice_counts_once() -> None:
    one_digit = gym(size=400, options={"min_terms": 2, "max_terms": 2, "min_digits": 1, "max_digits": 1})
    for rows in (reasoning_gym_rows("sums", one_digit, 0), constraint_rows("rules", constraints(rules=["lowercase"]), 0)):
        texts = [row.messages[0]["content"] for row in rows]
        assert len(set(texts)) == len(texts) > 20
    assert len(constraint_rows("rules", constraints(rules=["lowercase"], size=1000), 0)) == len(TOPICS)


def test_unknown_tasks_and_bad_options() -> None:
    with pytest.raises(DataError, match="no task 'chainsum'; nearest are chain_sum"):
        reasoning_gym_rows("sums", gym(task="chainsum"), seed=0)
    with pytest.raises(DataError, match=r"'chain_sum' refuses its options: .*min_term"):
        reasoning_gym_rows("sums", gym(options={"min_term": 2}), seed=0)
    with pytest.raises(DataError, match="'chain_sum' refuses its options"):
        reasoning_gym_rows("sums", gym(options={"min_terms": 5, "max_terms": 2}), seed=0)
    with pytest.raises(DataError, match="'seed' is no option of the task"):
        reasoning_gym_rows("sums", gym(options={"seed": 2}), seed=0)


def test_a_constraint_row_says_its_rules() -> None:
    for row in constraint_rows("rules", constraints(rules=list(RULES)), seed=0):
        (rule,) = row.meta["rules"]
        assert row.messages[0]["content"].endswith(RULES[rule["rule"]].instruction(rule))
        assert any(f"about {topic}. " in row.messages[0]["content"] for topic in TOPICS)
        assert judge(Task(prompt=row.messages[0]["content"], response="some text", meta=row.meta)).score is not None


def test_constraints_depend_on_the_seed_alone() -> None:
    first = constraint_rows("rules", constraints(), seed=0)
    assert 30 < len(first) <= 50
    assert constraint_rows("rules", constraints(), seed=0) == first
    assert constraint_rows("rules", constraints(), seed=1) != first
    assert {row.meta["rules"][0]["rule"] for row in first} == {"max_words", "lowercase"}


def test_rules_of_a_prompt_differ_and_go_together() -> None:
    rows = constraint_rows("rules", constraints(rules=["uppercase", "lowercase", "no_commas"], rules_per_prompt=2), seed=0)
    pairs = {tuple(rule["rule"] for rule in row.meta["rules"]) for row in rows}
    assert pairs == {("lowercase", "no_commas"), ("no_commas", "uppercase")}


def test_unknown_and_contradictory_rules() -> None:
    with pytest.raises(DataError, match="no rule 'shouting'; known are contains, ends_with"):
        constraint_rows("rules", constraints(rules=["shouting"]), seed=0)
    with pytest.raises(DataError, match="no 2 of the rules uppercase, lowercase go together"):
        constraint_rows("rules", constraints(rules=["uppercase", "lowercase"], rules_per_prompt=2), seed=0)
    with pytest.raises(DataError, match="no 3 of the rules max_words, lowercase go together"):
        constraint_rows("rules", constraints(rules_per_prompt=3), seed=0)
