"""verifiers.compose."""

from functools import partial

import pytest

from verifiers import Status, Verdict, invalid, scored
from verifiers.compose import all_of, combine, max_of, weighted_mean


def mean(*weights: float) -> partial[Verdict]:
    return partial(weighted_mean, weights=weights)


def test_gates_multiply_the_weighted_mean() -> None:
    verdicts = {
        "gate": scored(0.5, flags=("copied_source",), seconds=1.0),
        "a": scored(1.0, parts={"x": 0.25}),
        "b": scored(0.0, reason="wrong"),
    }
    verdict = combine(verdicts, "both", ["a", "b"], mean(3, 1), ["gate"])
    assert verdict.score == pytest.approx(0.5 * 0.75)
    assert (verdict.passed, verdict.verifier, verdict.seconds, verdict.flags) == (False, "both", 1.0, ("copied_source",))
    assert verdict.parts == {"gate": 0.5, "a": 1.0, "a/x": 0.25, "b": 0.0}
    assert verdict.reason == "b: wrong"


def test_passed_only_when_all_passed() -> None:
    assert combine({"a": scored(0.9, passed=True), "b": scored(1.0)}, "n", ["a"], mean(1), ["b"]).passed is True
    assert combine({"a": scored(0.9), "b": scored(1.0)}, "n", ["a"], mean(1), ["b"]).passed is False
    assert combine({"a": scored(1.0), "b": scored(0.9)}, "n", ["a"], mean(1), ["b"]).passed is False


@pytest.mark.parametrize(
    ("first", "second", "every", "largest"),
    [
        (scored(1.0), scored(1.0), (1.0, True), (1.0, True)),
        (scored(0.8, passed=True), scored(0.4), (0.0, False), (0.8, True)),
        (scored(0.2), scored(0.4), (0.0, False), (0.4, False)),
    ],
)
def test_all_of_and_max_of(first: Verdict, second: Verdict, every: tuple, largest: tuple) -> None:
    verdicts = {"a": first, "b": second}
    together = combine(verdicts, "n", ["a", "b"], all_of)
    best = combine(verdicts, "n", ["a", "b"], max_of)
    assert (together.score, together.passed) == every
    assert (best.score, best.passed) == largest
    assert together.parts == best.parts == {"a": first.score, "b": second.score}


@pytest.mark.parametrize("broken", ["gate", "part"])
@pytest.mark.parametrize("mix", [mean(1), all_of, max_of])
def test_an_invalid_part_makes_the_whole_invalid(broken: str, mix: partial[Verdict]) -> None:
    verdicts = {"gate": scored(1.0), "part": scored(1.0), broken: invalid("worker lost")}
    verdict = combine(verdicts, "n", ["part"], mix, ["gate"])
    assert verdict.status is Status.INVALID
    assert verdict.reason == f"{broken}: worker lost"


def test_watched_parts_are_logged_and_count_for_nothing() -> None:
    verdict = combine({"a": scored(1.0), "watched": scored(0.0), "lost": invalid("x")}, "n", ["a"], mean(2))
    assert (verdict.score, verdict.passed) == (1.0, True)
    assert verdict.parts == {"a": 1.0, "watched": 0.0}


def test_errors_of_the_caller() -> None:
    with pytest.raises(ValueError, match="positive sum"):
        combine({"a": scored(1.0)}, "n", ["a"], mean(0))
    with pytest.raises(KeyError):
        combine({"a": scored(1.0)}, "n", ["b"], mean(1))


def test_thirds_do_not_exceed_one() -> None:
    verdicts = {name: scored(1.0) for name in "abcdefg"}
    assert combine(verdicts, "n", list("abcdefg"), mean(*[0.1] * 7)).score == pytest.approx(1.0)
