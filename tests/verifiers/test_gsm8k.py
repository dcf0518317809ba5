"""verifiers.gsm8k: the last number, as a string."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict, load, verify
from verifiers.registry import WrongOption

GSM8K = load("verifiers.gsm8k:Gsm8k")


def judge(response: str, reference: object) -> Verdict:
    (verdict,) = verify(GSM8K, [Task("", response, reference=reference)])
    return verdict


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("5", "5"),
        ("5", 5),
        ("#### 1,234", "1234"),
        ("It is $1,234,567.", "1234567"),
        ("2+3=5.", "5"),
        ("So 18 dollars.", "18"),
        (r"\boxed{42}", "42"),
        ("0.5", 0.5),
        ("It is .5", ".5"),
        ("-2.5", "-2.5"),
        ("-5", "5"),
        ("3, 4, 5", "5"),
        ("5 apples, and then nothing", "5"),
    ],
)
def test_right(response: str, reference: object) -> None:
    assert judge(response, reference).passed is True


@pytest.mark.parametrize(
    ("response", "reference"),
    [
        ("6", "5"),
        ("5 of 6", "5"),
        ("5.0", "5"),
        ("05", "5"),
        ("٥", "5"),
        ("-5", "-5"),
        ("1,234", "1,234"),
        ("five", "five"),
        ("", "5"),
        ("2.5", "-2.5"),
        ("5/6", "5"),
        ("1 000", "1000"),
    ],
)
def test_wrong(response: str, reference: object) -> None:
    verdict = judge(response, reference)
    assert (verdict.score, verdict.passed) == (0.0, False)
    assert verdict.reason


@pytest.mark.parametrize("reference", [None, True, ["5"], {"answer": "5"}])
def test_a_reference_that_is_no_number_is_invalid(reference: object) -> None:
    assert judge("5", reference).status is Status.INVALID


def test_it_has_no_options() -> None:
    with pytest.raises(WrongOption, match="its options: none"):
        load("verifiers.gsm8k:Gsm8k", strict=True)


@pytest.mark.parametrize("response", ["1" * 1_000_000, "1," * 500_000, "-" * 1_000_000, "." * 1_000_000, "1." * 500_000])
def test_long_responses_are_cheap(response: str) -> None:
    begin = time.process_time()
    assert judge(response, "7").score == 0.0
    assert time.process_time() - begin < 3


@settings(max_examples=100, deadline=None)
@given(st.text(st.characters(), max_size=60), st.text(max_size=5) | st.none() | st.integers() | st.floats())
def test_whatever_the_response_there_is_a_verdict(response: str, reference: object) -> None:
    assert isinstance(judge(response, reference), Verdict)
