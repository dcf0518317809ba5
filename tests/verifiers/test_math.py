"""verifiers.math: right answers in many spellings, the known false positives, hostile answers."""

import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict, load, verify
from verifiers.math_answer import final_answer, too_costly
from verifiers.pool import Pool, Spec
from verifiers.types import Verifier

MATH = load("math")


def judge(response: str, gold: object, prompt: str = "", verifier: Verifier = MATH, **meta: str) -> Verdict:
    (verdict,) = verify(verifier, [Task(prompt, response, reference=gold, meta=meta)])
    return verdict


def box(answer: str) -> str:
    return f"Therefore $\\boxed{{{answer}}}$."


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("5", "5"),
        ("5", 5),
        ("0.5", 0.5),
        (r"\frac{1}{2}", "1/2"),
        (r"\dfrac12", r"\frac{1}{2}"),
        ("0.5", r"\frac{1}{2}"),
        (r"\frac{3}{4}", "0.75"),
        (r"1\frac{1}{2}", "1.5"),
        (r"-\frac{1}{2}", "-0.5"),
        ("1,000", "1000"),
        (r"1\,000", "1000"),
        ("1000.00", "1,000"),
        (r"5\text{ cm}", "5"),
        (r"5 \text{ square units}", "5"),
        (r"12\text{ cm}^2", "12"),
        ("18 dollars", "18"),
        (r"\$5", "5"),
        (r"90^\circ", "90"),
        (r"50\%", r"50\%"),
        ("50", r"50\%"),
        ("x=5", "5"),
        ("f(x) = x+1", "x+1"),
        ("y = 2x+1", "y=2x+1"),
        ("y = 1 + 2x", "y=2x+1"),
        (r"2\sqrt{3}", r"\sqrt{12}"),
        (r"\sqrt{12}", r"2\sqrt{3}"),
        ("(x+1)^2", "x^2+2x+1"),
        ("x^2 e^x", "x^2e^{x}"),
        (r"1.5\times 10^3", "1500"),
        ("10^6", "1000000"),
        ("(1,2)", "(1, 2)"),
        (r"\left(1,\, 2\right)", "(1,2)"),
        ("-2, 1", "1,-2"),
        (r"1 \text{ and } -2", "1,-2"),
        (r"x=1 \text{ or } x=-2", "1,-2"),
        ("x_1 = 1, x_2 = -2", "-2, 1"),
        (r"\{1, 2\}", r"\{2,1\}"),
        ("-5, 5", r"\pm 5"),
        (r"0 \le x < 1", "[0,1)"),
        (r"x \in [0,1)", "[0,1)"),
        (r"(2,12)\cup (12,102)", r"(2,12) \cup (12,102)"),
        (r"\begin{pmatrix}1\\2\end{pmatrix}", r"\begin{pmatrix} 1 \\ 2 \end{pmatrix}"),
        ("Evelyn", r"\text{Evelyn}"),
        (r"\text{(B)}", "B"),
        (r"\textbf{(B)}", r"\text{(B)}"),
        ("２", "2"),
        ("٥", "5"),
        ("−5", "-5"),
        ("{7}", "7"),
        ("2π", r"2\pi"),
    ],
)
def test_right(answer: str, gold: object) -> None:
    verdict = judge(box(answer), gold)
    assert verdict.passed is True, verdict


@pytest.mark.parametrize(
    ("answer", "gold"),
    [
        ("6", "5"),
        ("1=2=5", "5"),
        ("5=5", "5"),
        ("5 < 6", "5"),
        (r"x \le 5", "5"),
        (r"5 \text{ or not}", "5"),
        (r"5 \text{ apples or 6}", "5"),
        ("3, or 4, or 5", "5"),
        ("3,4,5", "5"),
        ("3; 5", "5"),
        (r"\{5\} , 6", "5"),
        (r"\pm 5", "5"),
        ("1,2", "(1,2)"),
        ("[1,2]", "(1,2)"),
        ("(2,1)", "(1,2)"),
        (r"\int_0^1 x dx", "1/2"),
        (r"\sum_{n=1}^{2} n", "3"),
        ("5!", "120"),
        ("2+3", "5"),
        (r"2\cdot 3", "6"),
        ("2^{10}", "1024"),
        (r"\sqrt{25}", "5"),
        ("10/2", "5"),
        ("A", "B"),
        ("Eve", r"\text{Evelyn}"),
        (r"\text{A or B}", "B"),
        ("", "5"),
        ("-5", "5"),
        ("x=1, x=3", "1,-2"),
        ("0.667", r"\frac{2}{3}"),
        ("[0,1]", "[0,1)"),
        (r"\frac{", "5"),
        ("5x", "5"),
        ("1500", "1.5"),
    ],
)
def test_wrong(answer: str, gold: str) -> None:
    verdict = judge(box(answer), gold)
    assert (verdict.score, verdict.passed) == (0.0, False)
    assert verdict.reason


@pytest.mark.parametrize(
    ("response", "found"),
    [
        (r"\boxed{3} or \boxed{5}", "5"),
        (r"\boxed{\frac{1}{2}} is the end", r"\frac{1}{2}"),
        (r"\boxed{\{1,2\}}", r"\{1,2\}"),
        (r"\boxed 7.", "7"),
        (r"\boxed{5", None),
        (r"first \boxed{5} then \boxed{6", None),
        ("so 2+2=4\n#### 42", "42"),
        ("The answer is 42. I am sure.", "42"),
        ("The answer is 3.5.", "3.5"),
        ("The answer is: 4. No, the answer is 5.", "5"),
        ("**Final answer:** $x=3$", "x=3"),
        ("Die Antwort lautet 3,5.", "3,5"),
        ("La réponse est 12", "12"),
        ("La respuesta es 12", "12"),
        ("Ответ: 12", "12"),
        ("答案是 12。", "12"),
        ("I think it is 42", None),
        ("", None),
    ],
)
def test_one_final_answer(response: str, found: str | None) -> None:
    assert final_answer(response) == found


def test_last_number_is_an_option() -> None:
    assert judge("I get 41, no, 42", "42").passed is False
    assert judge("I get 41, no, 42", "42", verifier=load("math", last_number=True)).passed is True


@pytest.mark.parametrize(
    ("answer", "gold", "language"),
    [
        ("1,5", "1.5", "de"),
        ("1.234,5", "1234.5", "de"),
        ("1.234", "1234", "de_AT"),
        ("1{,}5", "1.5", "de"),
        ("1.5", "1.5", "de"),
        ("1\u202f234,5", "1234.5", "fr"),
        ("1 234,5", "1234.5", "ru"),
        ("1,234.5", "1234.5", "en"),
        ("1,234.5", "1234.5", "ja"),
        ("(1,2)", "(1,2)", "de"),
        ("١٬٢٣٤٫٥", "1234.5", "ar"),
    ],
)
def test_numbers_are_read_in_the_language_of_the_task(answer: str, gold: str, language: str) -> None:
    assert judge(box(answer), gold, language=language).passed is True


def test_decimal_comma_is_not_english() -> None:
    assert judge(box("1,5"), "1.5", language="en").passed is False


@pytest.mark.parametrize(
    ("prompt", "answer", "gold", "passed"),
    [
        ("Expand $(x+1)^2$.", "(x+1)^2", "x^2+2x+1", False),
        ("Expand $(x + 1)^2$.", "(x+1)^2", "x^2+2x+1", False),
        ("Write 0.5 as a fraction.", "0.5", "1/2", False),
        ("Simplify $x+1$.", "x+1", "x+1", True),
        ("Is 5 > 3?", "5", "5", True),
        ("Two times 2 is?", "4.00", "4", True),
    ],
)
def test_an_echo_of_the_problem_is_no_answer(prompt: str, answer: str, gold: str, passed: bool) -> None:
    assert judge(box(answer), gold, prompt).passed is passed


@pytest.mark.parametrize("gold", [None, [1], "", "$$", r"foo \frac{", True])
def test_a_reference_that_is_no_answer_is_invalid(gold: object) -> None:
    assert judge(box("5"), gold).status is Status.INVALID


TOWERS = ["9^{9^{9^{9}}}", "10^{10^{10}}", "10^10^10", "9**9**9", "((9^{99})^{99})^{99}", "9^{999999999}", "(9^9)^{99999}"]
COSTLY = [*TOWERS, "100000000!", "((3!)!)!", r"\binom{99999999}{5000000}", "(" * 2000, "1" * 61, "x+" * 200, r"\frac{1}{" * 25]


@pytest.mark.parametrize("answer", COSTLY)
def test_costly_answers_are_cheap(answer: str) -> None:
    assert too_costly(answer)
    begin = time.perf_counter()
    verdict = judge(box(answer), "x+1")
    assert verdict.score == 0.0
    assert time.perf_counter() - begin < 0.5


@pytest.mark.parametrize(
    "answer", ["x^2+y^2", "x^2y^3", "e^{2x}", "2^{10}", r"3^{\frac{1}{2}}", "5!", "1" * 60, r"\binom{10}{3}", "x^{n+1}"]
)
def test_usual_answers_are_not_costly(answer: str) -> None:
    assert too_costly(answer) is None


HOSTILE = [
    r"\boxed{" * 50_000,
    r"\boxed{5}" * 50_000,
    "{" * 500_000,
    "The answer is " * 50_000,
    " " * 500_000,
    "\\" * 500_000,
    "$" * 500_000,
]


@pytest.mark.parametrize("response", HOSTILE, ids=lambda text: text[:8])
def test_long_responses_are_cheap(response: str) -> None:
    begin = time.perf_counter()
    assert judge(response, "7").score == 0.0
    assert judge(f"\\boxed{{{response}}}", "7").score == 0.0
    assert time.perf_counter() - begin < 3


def test_slow_sympy_is_a_failure_of_the_response() -> None:
    verdict = judge(box("(x+y+z+w+v+u+t)^{60}"), "x+1", verifier=load("math", seconds=0.5))
    assert (verdict.score, verdict.flags) == (0.0, ("timeout",))


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(alphabet=r"0123456789xyn+-*/^_{}()[],.=<>!\ ", max_size=30))
def test_whatever_the_answer_there_is_a_verdict(text: str, formula: str) -> None:
    for response in (box(text), box(formula), text):
        verdict = judge(response, "7", verifier=FAST)
        assert verdict.status is Status.SCORED, verdict


FAST = load("math", seconds=1.0)


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool({"math": Spec("verifiers.math:Math", {}, timeout_s=3.0)}, workers=2, memory_mib=2048) as pool:
        yield pool


def test_hostile_answers_in_a_pool_do_not_hold_up_the_others(pool: Pool) -> None:
    fine = Task("", box("5"), reference="5")
    hostile = [Task("", box(answer), reference="5") for answer in TOWERS]
    begin = time.monotonic()
    verdicts = pool.verify("math", [*hostile, *[fine] * 50])
    assert [verdict.score for verdict in verdicts] == [0.0] * len(TOWERS) + [1.0] * 50
    assert time.monotonic() - begin < 30
