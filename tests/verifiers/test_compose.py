"""verifiers.compose."""

import pytest

from verifiers import Status, invalid, scored
from verifiers.compose import combine


def test_gates_multiply_the_weighted_mean() -> None:
    verdicts = {
        "gate": scored(0.5, flags=("copied_source",), seconds=1.0),
        "a": scored(1.0, parts={"x": 0.25}),
        "b": scored(0.0, reason="wrong"),
    }
    verdict = combine(verdicts, ["gate"], {"a": 3, "b": 1}, "both")
    assert verdict.score == pytest.approx(0.5 * 0.75)
    assert (verdict.passed, verdict.verifier, verdict.seconds, verdict.flags) == (False, "both", 1.0, ("copied_source",))
    assert verdict.parts == {"gate": 0.5, "a": 1.0, "a/x": 0.25, "b": 0.0}
    assert verdict.reason == "b: wrong"


def test_passed_only_when_all_passed() -> None:
    assert combine({"a": scored(0.9, passed=True), "b": scored(1.0)}, ["b"], {"a": 1}, "n").passed is True
    assert combine({"a": scored(0.9), "b": scored(1.0)}, ["b"], {"a": 1}, "n").passed is False


@pytest.mark.parametrize("broken", ["gate", "part"])
def test_an_invalid_part_makes_the_whole_invalid(broken: str) -> None:
    verdicts = {"gate": scored(1.0), "part": scored(1.0), broken: invalid("worker lost")}
    verdict = combine(verdicts, ["gate"], {"part": 1}, "n")
    assert verdict.status is Status.INVALID
    assert verdict.reason == f"{broken}: worker lost"


def test_watched_parts_are_logged_and_count_for_nothing() -> None:
    verdict = combine({"a": scored(1.0), "watched": scored(0.0), "lost": invalid("x")}, [], {"a": 2}, "n")
    assert (verdict.score, verdict.passed) == (1.0, True)
    assert verdict.parts == {"a": 1.0, "watched": 0.0}


def test_errors_of_the_caller() -> None:
    with pytest.raises(ValueError, match="weights"):
        combine({"a": scored(1.0)}, ["a"], {}, "n")
    with pytest.raises(KeyError):
        combine({"a": scored(1.0)}, [], {"b": 1}, "n")


def test_thirds_do_not_exceed_one() -> None:
    verdicts = {name: scored(1.0) for name in "abcdefg"}
    assert combine(verdicts, [], dict.fromkeys("abcdefg", 0.1), "n").score == pytest.approx(1.0)
