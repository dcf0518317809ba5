"""A function as a verifier."""

import pytest

from verifiers import Status, Task, invalid, load, scored, verify
from verifiers.decorator import verifier


@verifier
def closing(response, reference, *, phrase):
    "Ends with the phrase that the task names."
    return response.endswith(phrase)


@verifier
def everything(response, reference, **meta):
    return scored(0.5, parts={"fields": len(meta) / 10}, reason=str(reference))


@verifier
def odd(response, reference):
    return {"fine": 1, "half": 0.5, "none": None, "text": "1", "large": 2.0, "nan": float("nan"), "invalid": invalid("down")}[
        response
    ]


def judge(kind, response="", **fields):
    (verdict,) = verify(kind(kind.Options()), [Task("", response, **fields)], "n")
    return verdict


def test_named_fields_of_meta_are_given():
    assert judge(closing, "so long. Bye", meta={"phrase": "Bye", "other": 1}).score == 1.0
    assert judge(closing, "so long", meta={"phrase": "Bye"}).passed is False
    assert closing.__doc__ == "Ends with the phrase that the task names."


def test_all_fields_are_given_to_a_function_that_takes_all():
    verdict = judge(everything, reference="r", meta={"a": 1, "b": 2})
    assert (verdict.score, verdict.parts, verdict.reason) == (0.5, {"fields": 0.2}, "r")


def test_it_is_found_by_its_path():
    assert type(load(f"{__name__}:closing")).__name__ == "closing"


@pytest.mark.parametrize("answer", ["none", "text", "large", "nan", "invalid", "no such answer"])
def test_what_is_no_score_is_invalid(answer):
    verdict = judge(odd, answer)
    assert verdict.status is Status.INVALID
    assert verdict.reason


def test_numbers_are_scores():
    assert [judge(odd, answer).score for answer in ("fine", "half")] == [1.0, 0.5]


def test_a_missing_field_is_invalid():
    assert "phrase" in judge(closing).reason


@pytest.mark.parametrize("function", [lambda: 1, lambda response: 1, lambda *, response, reference: 1])
def test_it_must_take_response_and_reference(function):
    with pytest.raises(TypeError, match="must take a response and a reference first"):
        verifier(function)
