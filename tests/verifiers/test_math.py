"""verifiers.math: right answers in many spellings, the known false positives, hostile answers."""

import time
from collections.abc import Iterator

import math_verify
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict, load, verify
from verifiers.math.answer import final_answer, too_costly
from verifiers.pool import Pool, Spec
from verifiers.types import Verifier

MATH = load("math")
FAST = load("math", seconds=1.0)


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
        ("½", "1/2"),
        ("x²+1", "x^2+1"),
        ("2√3", r"\sqrt{12}"),
        ("(5)", "5"),
        ("1 1/2", "3/2"),
        ("1e-07", 1e-7),
        (r"10^{-7}", 1e-7),
        ("-10^3", "-1000"),
        ("0.666667", r"\frac{2}{3}"),
        ("18 USD", "18"),
        (r"33\frac13\%", r"33\frac{1}{3}\%"),
        (r"50\%", "50"),
        (r"50\%", "0.5"),
        ("0.5", r"50\%"),
        (r"\frac{1}{8}", r"12.5\%"),
        ("m+n=5", "5"),
        ("(x,y) = (1,2)", "(1,2)"),
        (r"x^2-1", "(x-1)(x+1)"),
        (r"x=\pm 2", "2,-2"),
        (r"\{-2, 2\}", "-2,2"),
        ("2,1", r"1 \text{ or } 2"),
        (r"(1,2) \text{ and } (3,4)", "(3,4),(1,2)"),
        (r"\varnothing", r"\emptyset"),
        (r"(3,\infty)", "x>3"),
        ("3 < t", "t>3"),
        ("0 < x ≤ 1", "(0,1]"),
        (r"-1 \leqslant x \leqslant 1", "[-1,1]"),
        (r"x<1 \text{ or } x>2", r"(-\infty,1)\cup(2,\infty)"),
        (r"(-\infty,\infty)", r"\mathbb{R}"),
        ("2x - y + 1 = 0", "y=2x+1"),
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
        (".0000673", ".0000672"),
        (r"2\times 10^{-7}", 1e-7),
        ("0.00098", r"\frac{1}{1024}"),
        ("5 6", "56"),
        (r"5\ 6", "56"),
        (r"5\,6", "56"),
        ("x=1=5", "x=5"),
        ("5=5", "x=5"),
        ("y=5", "x=5"),
        ("6 \\Rightarrow 5", "5"),
        (r"\approx 5", "5"),
        (r"\neq 5", "5"),
        ("|-5|", "5"),
        ("5π", "5"),
        ("5pi", "5"),
        ("1,2,3", "1,2"),
        (r"1,2 \text{ or not}", "1,2"),
        (r"1,2 \text{ or } 3,4", "1,2"),
        (r"(1,2) \text{ or } (3,4)", "(1,2)"),
        (r"\{1,2\} \text{ or } \{3\}", r"\{1,2\}"),
        (r"\{1,2\}", r"\{1,2,3\}"),
        (r"[0,1) \cup [5,6)", "[0,1)"),
        (r"x \ge 3", r"(3,\infty)"),
        ("x<3", "x>3"),
        (r"0.5\%", r"50\%"),
        (r"5\%", r"6\%"),
        (r"\sin 60^\circ", r"\frac{\sqrt3}{2}"),
        (r"\frac{d}{dx} x^2", "2x"),
        (r"\lim_{x\to0}\frac{\sin x}{x}", "1"),
        ("5/0", "5"),
        ("NaN", "5"),
        ('{"answer": 5}', "5"),
        ('{"answer": 6, "answer": 5}', "5"),
        ("[5, 6]", "5"),
        ("__import__('os').abort()", "5"),
        ("\u202e5\u202c or 6", "5"),
        ("5\ud800", "5"),
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
        ("所以答案：１２", "１２"),
        ("**Answer**: 12", "12"),
        ("The answer is **12** apples.", "12 apples"),
        ("The answer is:\n\n$$\n12\n$$\nas said", "12"),
        ("The answer is\n\\[\n12\n\\]", "12"),
        ("The answer to this is clear.", None),
        ("A resposta é 12.", "12"),
        ("Het antwoord is 12.", "12"),
        ("Odpowiedź: 12", "12"),
        ("Odpověď: 12", "12"),
        ("Svaret är 12.", "12"),
        ("Válasz: 12", "12"),
        ("Απάντηση: 12", "12"),
        ("Cevap: 12", "12"),
        ("Đáp án: 12", "12"),
        ("Jawaban: 12", "12"),
        ("الإجابة هي ١٢", "١٢"),
        ("תשובה: 12", "12"),
        ("उत्तर: १२।", "१२"),
        ("उत्तर है १२", "१२"),
        ("Réponse finale\u00a0: 12", "12"),
        ("คำตอบ: 12", "12"),
        ("答えは12です。", "12です"),
        ("정답은 12", "12"),
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
        ("٥٠٪", r"50\%", "ar"),
        ("۱۲", "12", "fa"),
        ("१२ रुपये", "12", "hi"),
        ("1,23,456", "123456", "hi"),
        ("১২", "12", "bn"),
        ("๑๒", "12", "th"),
        ("１２，３４５", "12345", "ja"),
        ("12个", "12", "zh"),
        ("12개", "12", "ko"),
        ("1'234.50", "1234.5", "de_CH"),
        ("0,75", r"\frac34", "pl"),
        ("-0,5", "-1/2", "it"),
        ("1.234.567", "1234567", "pt-BR"),
        (r"12,5 \%", r"12.5\%", "de"),
        (r"2,5\cdot 10^3", "2500", "de"),
        ("0,5x+1", r"\frac{x}{2}+1", "de"),
        ("(1,5; 2)", "(1.5,2)", "de"),
        (r"1,5 \text{ und } 2", "1.5, 2", "de"),
        ("0,5 < x < 1", "(0.5,1)", "de"),
        ("[0,5; 1)", "[0.5,1)", "fr"),
        ("3/2", "1,5", "de"),
        ("5,1", "1,5", "de"),
    ],
)
def test_numbers_are_read_in_the_language_of_the_task(answer: str, gold: str, language: str) -> None:
    assert judge(box(answer), gold, language=language).passed is True


@pytest.mark.parametrize(
    ("answer", "gold", "language"),
    [
        ("1,5", "1.5", "en"),
        ("1,5", "1.5", "zh"),
        ("1,5", "15", "de"),
        ("1.5", "15", "de"),
        ("1,234", "1.234", "en"),
        ("1,6", "1,5", "de"),
        ("(1,5; 2)", "(1.5,3)", "de"),
        ("3,14", r"\pi", "fr"),
        ("5 oder 6", "5", "de"),
        ("5 oder nicht", "5", "de"),
        ("5 ou pas", "5", "fr"),
        ("5 ou não", "5", "pt"),
        ("5 o no", "5", "es"),
        ("5 или нет", "5", "ru"),
        ("5 lub nie", "5", "pl"),
        ("5 nebo ne", "5", "cs"),
        ("5 vagy nem", "5", "hu"),
        ("5 tai ei", "5", "fi"),
        ("5 ή όχι", "5", "el"),
        ("5 veya değil", "5", "tr"),
        ("5 hoặc không", "5", "vi"),
        ("٥ أو لا", "5", "ar"),
        ("५ या नहीं", "5", "hi"),
        ("5或6个", "5", "zh"),
        ("5または6個", "5", "ja"),
        ("5 또는 6개", "5", "ko"),
        ("5 หรือไม่", "5", "th"),
    ],
)
def test_wrong_in_many_languages(answer: str, gold: str, language: str) -> None:
    assert judge(box(answer), gold, language=language).score == 0.0


@pytest.mark.parametrize(
    ("answer", "gold", "right"),
    [
        ("5", "5", True),
        ("5", "6", False),
        ("0.5", r"\frac{1}{2}", True),
        ("0.6", r"\frac{1}{2}", False),
        ("0.333333", r"\frac{1}{3}", True),
        ("0.33", r"\frac{1}{3}", False),
        (r"2\sqrt{3}", r"\sqrt{12}", True),
        (r"3\sqrt{2}", r"\sqrt{12}", False),
        ("(x+1)^2", "x^2+2x+1", True),
        ("(x-1)^2", "x^2+2x+1", False),
        (r"\frac{a}{2}+\frac{b}{2}", r"\frac{a+b}{2}", True),
        (r"\{2,1\}", r"\{1,2\}", True),
        (r"\{2,3\}", r"\{1,2\}", False),
        ("[0,1)", "[0,1)", True),
        ("(0,1)", "[0,1)", False),
        (r"(2,\infty) \cup (-\infty,1)", r"(-\infty,1)\cup(2,\infty)", True),
        ("y=1+2x", "y=2x+1", True),
        ("y=1-2x", "y=2x+1", False),
        ("4i+3", "3+4i", True),
        (r"e^{2x}", r"e^{x+x}", True),
        (r"\begin{pmatrix}1&2\\3&4\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", True),
        (r"\begin{pmatrix}1&2\\3&5\end{pmatrix}", r"\begin{bmatrix}1&2\\3&4\end{bmatrix}", False),
    ],
)
def test_plain_cases_are_judged_as_math_verify_judges_them(answer: str, gold: str, right: bool) -> None:
    assert math_verify.verify(math_verify.parse(f"${gold}$"), math_verify.parse(box(answer))) is right
    assert judge(box(answer), gold).passed is right


@pytest.mark.parametrize(
    ("prompt", "answer", "gold", "passed"),
    [
        ("Expand $(x+1)^2$.", "(x+1)^2", "x^2+2x+1", False),
        ("Expand $(x + 1)^2$.", "(x+1)^2", "x^2+2x+1", False),
        ("Write 0.5 as a fraction.", "0.5", "1/2", False),
        ("Simplify $x+1$.", "x+1", "x+1", True),
        ("Is 5 > 3?", "5", "5", True),
        ("Two times 2 is?", "4.00", "4", True),
        ("Expand $(x+1)^2$.", "(1+x)^{2}", "x^2+2x+1", False),
        ("Expand $(x+1)^2$.", "(x+1)(x+1) + 0", "x^2+2x+1", False),
        (r"Expand \((x+1)^2\).", r"1\cdot(x+1)^2", "x^2+2x+1", False),
        ("Expand (x+1)**2.", "(x+1)^2", "x^2+2x+1", False),
        ("Factor $x^2+2x+1$.", "2x+x^2+1", "(x+1)^2", False),
        ("Factor $x^2+2x+1$.", "(1+x)^2", "(x+1)^2", True),
        ("Solve $x^2=4$.", "x^2=4", "2,-2", False),
        ("Which is the simpler of $x+1$ and $1(x+1)$?", "1+x", "x+1", True),
    ],
)
def test_an_echo_of_the_problem_is_no_answer(prompt: str, answer: str, gold: str, passed: bool) -> None:
    assert judge(box(answer), gold, prompt).passed is passed


@pytest.mark.parametrize("prompt", ["Expand $(x+1)^2$.", "Expand (x+1)^2."])
def test_repeating_the_problem_states_no_answer(prompt: str) -> None:
    assert judge(f"{prompt} I do not know.", "(x+1)^2", prompt).reason.startswith("no final answer")
    assert "echo" in judge(f"The answer is $(x+1)^2$. {prompt}", "x^2+2x+1", prompt).flags


@pytest.mark.parametrize("gold", [None, [1], "", "$$", r"foo \frac{", True])
def test_a_reference_that_is_no_answer_is_invalid(gold: object) -> None:
    assert judge(box("5"), gold).status is Status.INVALID


def test_a_slow_reference_is_not_the_fault_of_the_response() -> None:
    assert judge(box("5"), "x+" * 3000 + "1", verifier=load("math", seconds=0.01)).status is Status.INVALID


TOWERS = ["9^{9^{9^{9}}}", "10^{10^{10}}", "10^10^10", "9**9**9", "((9^{99})^{99})^{99}", "9^{999999999}", "(9^9)^{99999}"]
COSTLY = [*TOWERS, "100000000!", "((3!)!)!", r"\binom{99999999}{5000000}", "(" * 2000, "1" * 61, "x+" * 200, r"\frac{1}{" * 25]


@pytest.mark.parametrize("answer", COSTLY)
def test_costly_answers_are_cheap(answer: str) -> None:
    assert too_costly(answer)
    begin = time.process_time()
    verdict = judge(box(answer), "x+1")
    assert verdict.score == 0.0
    assert time.process_time() - begin < 0.5


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
    begin = time.process_time()
    assert judge(response, "7").score == 0.0
    assert judge(f"\\boxed{{{response}}}", "7").score == 0.0
    assert time.process_time() - begin < 3


def test_slow_sympy_is_a_failure_of_the_response() -> None:
    verdict = judge(box("(x+y+z+w+v+u+t)^{60}"), "x+1", verifier=load("math", seconds=0.5))
    assert (verdict.score, verdict.flags) == (0.0, ("timeout",))


ANY_CHARACTER = st.text(st.characters(), max_size=60)  # with surrogates, controls and bidirectional marks
COMMANDS = [r"\frac", r"\sqrt", r"\text{ or }", r"\le", r"\cup", r"\{", r"\infty", r"\boxed{"]
PIECES = [*"0123456789xyn+-*/^_{}()[],.=<>!;%&|\\ ½√٥，", *COMMANDS]
FORMULA = st.lists(st.sampled_from(PIECES), max_size=15).map("".join)
GOLDS = ["7", "1/2", "x^2+1", "(0,1]", r"\{1,2\}", "1,-2", "y=2x+1", r"50\%", "x>3", r"\text{red}"]


@settings(max_examples=100, deadline=None)
@given(ANY_CHARACTER, FORMULA, st.sampled_from(GOLDS), st.sampled_from(["en", "de", "xx"]))
def test_whatever_the_answer_there_is_a_verdict(text: str, formula: str, gold: str, language: str) -> None:
    tasks = [Task(formula, response, reference=gold, meta={"language": language}) for response in (box(text), box(formula), text)]
    verdicts = verify(FAST, tasks)
    assert len(verdicts) == len(tasks)
    for verdict in verdicts:
        assert isinstance(verdict, Verdict)
        assert verdict.status is Status.SCORED, verdict


@settings(max_examples=50, deadline=None)
@given(ANY_CHARACTER | st.none() | st.integers() | st.floats() | st.lists(st.integers()))
def test_whatever_the_reference_there_is_a_verdict(reference: object) -> None:
    (verdict,) = verify(FAST, [Task("", box("5"), reference=reference)])
    assert isinstance(verdict, Verdict)


SLOW = [r"9^{9999\cdot9999\cdot99}x"]
"""Past the pre-filter."""
BURNING = [
    *COSTLY,
    "(x+y+z+w)^{400}",
    r"\int_0^1 \frac{\sin(x^3)\ln(x+1)}{x^5+1} dx",
    r"\sum_{n=1}^{1000000000} \frac{1}{n^3}",
    r"\frac{1}{2}+" * 300 + "x",
    ",".join(map(str, range(500_000))),
    r"\{" + ",".join(map(str, range(3000))) + r"\}",
    r"\boxed{5}" * 50_000,
    "5" * 10_000_000,
    "\u202e\ud800\u200b",
]


@pytest.fixture
def pool() -> Iterator[Pool]:
    spec = Spec("verifiers.math:Math", {"seconds": 60.0}, timeout_s=1.5)  # the pool's limit alone
    with Pool({"math": spec}, workers=2, memory_mib=2048) as pool:
        yield pool


def test_hostile_answers_in_a_pool_are_failures_and_hold_nobody_up(pool: Pool) -> None:
    fine = Task("", box("5"), reference="5")
    slow, burning = ([Task("", box(answer), reference="x+1") for answer in answers] for answers in (SLOW, BURNING))
    begin = time.monotonic()
    verdicts = pool.verify("math", [*slow, *burning, *[fine] * 50])
    assert [verdict.score for verdict in verdicts] == [0.0] * (len(SLOW) + len(BURNING)) + [1.0] * 50
    assert [verdict.flags for verdict in verdicts[: len(SLOW)]] == [("timeout",)] * len(SLOW)
    assert all(verdict.reason for verdict in verdicts[: len(SLOW) + len(BURNING)])
    assert time.monotonic() - begin < 60
