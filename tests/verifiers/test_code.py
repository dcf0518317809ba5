"""verifiers.code: right and wrong programs in each kind of problem, every reason to fail, options, exact types."""

from typing import Any

import pytest

from verifiers import Status, Task, Verdict, verify
from verifiers.code import Code, CodeOptions
from verifiers.code.problems import BrokenProblem, problem
from verifiers.pool import Pool, Spec
from verifiers.sandbox import Sandbox, SandboxUnavailable

pytestmark = pytest.mark.jail


@pytest.fixture(scope="module")
def code() -> Code:
    return Code(CodeOptions(test_seconds=0.3, seconds=1.0, memory_mib=256))


@pytest.fixture(scope="module")
def partial_credit() -> Code:
    return Code(CodeOptions(score="fraction", test_seconds=0.3, seconds=1.0, memory_mib=256))


def judged(code: Code, meta: dict[str, Any], source: str) -> Verdict:
    (verdict,) = verify(code, [Task("", f"```python\n{source}\n```", meta=meta)])
    return verdict


def calls(*tests: dict[str, Any]) -> dict[str, Any]:
    return {"kind": "calls", "function": "f", "tests": [*tests]}


def asserts(*tests: str, **rest: str) -> dict[str, Any]:
    return {"kind": "asserts", "function": "f", "tests": [*tests], **rest}


def stdin(*tests: tuple[str, str], **rest: Any) -> dict[str, Any]:
    return {"kind": "stdin", "tests": [{"input": given, "output": wanted} for given, wanted in tests], **rest}


SQUARES = calls({"args": [2], "expected": 4}, {"args": [3], "expected": 9})
SQUARED_LINES = stdin(("2\n", "4\n"), ("3\n", "9\n"))
SQUARED_ASSERTS = asserts("assert f(2) == 4", "assert f(3) == 9")


@pytest.mark.parametrize(
    ("meta", "right", "wrong"),
    [
        (SQUARES, "def f(x): return x * x", "def f(x): return x + x"),
        (SQUARED_LINES, "print(int(input()) ** 2)", "print(int(input()) * 2)"),
        (SQUARED_ASSERTS, "def f(x): return x * x", "def f(x): return x + x"),
    ],
)
def test_all_or_the_fraction(code: Code, partial_credit: Code, meta: dict[str, Any], right: str, wrong: str) -> None:
    for verifier in (code, partial_credit):
        verdict = judged(verifier, meta, right)
        assert (verdict.score, verdict.passed, verdict.reason) == (1.0, True, "")
    assert judged(code, meta, wrong).score == 0
    half = judged(partial_credit, meta, wrong)
    assert (half.score, half.passed) == (0.5, False)
    assert half.parts == {"test/0": 1.0, "test/1": 0.0}
    assert half.reason == "wrong answer (test/1 of 2)"


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("def f(x): return x * x +", "compile error: SyntaxError"),
        ("def f(x):\nreturn x", "compile error: IndentationError"),
        ("def g(x): return x * x", "the function is not defined"),
        ("import nowhere", "exception: ModuleNotFoundError"),
        ("def f(x): return x / 0", "exception: ZeroDivisionError"),
        ("def f(x): assert False", "exception: AssertionError"),
        ("def f(x, y): return x * y", "exception: TypeError"),
        ("def f(x): return f(x)", "exception: RecursionError"),
        ("def f(x): return x + x", "wrong answer"),
        ("def f(x):\n    while True: pass", "timeout"),
        ("while True: pass", "timeout"),
        ("import time\ndef f(x): time.sleep(60)", "timeout"),
        ("def f(x): return sum(i * i for i in range(10**10))", "timeout"),
        ("def f(x): return 9 ** 9 ** 9", "timeout"),
        ("def f(x): return [0] * 10**10", "memory"),
        ("def f(x): return 'a' * 10**7", "output limit"),
        ("def f(x): return lambda: x", "answer is no data"),
        ("def f(x): yield x * x", "answer is no data"),
        ("import os\ndef f(x): os._exit(0)", "the process ended early"),
        ("import sys\ndef f(x): sys.exit(0)", "exception: SystemExit"),
        ("import os\ndef f(x): os.abort()", "killed"),
    ],
)
@pytest.mark.parametrize("meta", [SQUARES, SQUARED_ASSERTS], ids=["calls", "asserts"])
def test_reasons_to_fail(code: Code, meta: dict[str, Any], source: str, reason: str) -> None:
    verdict = judged(code, meta, source)
    assert (verdict.status, verdict.score) == (Status.SCORED, 0.0), verdict
    assert verdict.reason.startswith(reason), verdict


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("print(", "compile error: SyntaxError"),
        ("print(1 / 0)", "exception: ZeroDivisionError"),
        ("print(int(input()) + 1)", "wrong answer"),
        ("while True: pass", "timeout"),
        ("import time; time.sleep(60)", "timeout"),
        ("x = [0] * 10**10", "memory"),
        ("while True: print('a' * 1000)", "output limit"),
        ("print(int(input()) ** 2); exit(3)", "exit status is not 0"),
        ("print(int(input()) ** 2)\nimport os; os.abort()", "exit status is not 0"),
    ],
)
def test_reasons_of_programs(code: Code, source: str, reason: str) -> None:
    verdict = judged(code, SQUARED_LINES, source)
    assert (verdict.status, verdict.score) == (Status.SCORED, 0.0), verdict
    assert verdict.reason.startswith(reason), verdict


@pytest.mark.parametrize(
    "source",
    [
        "print(int(input()) ** 2)",
        "print(int(input()) ** 2, end='')",
        "print(int(input()) ** 2, end='  \\n\\n')",
        "import sys\nsys.stdout.write(str(int(sys.stdin.read()) ** 2))",
        "import os\nos.write(1, str(int(os.read(0, 100)) ** 2).encode())",
        "import sys\nprint(int(next(sys.stdin)) ** 2)\nsys.exit()",
        "import sys\nprint(int(input()) ** 2)\nprint('to stderr', file=sys.stderr)\nexit(0)",
        "def main():\n    print(int(input()) ** 2)\n\nif __name__ == '__main__':\n    main()",
        "import threading\nthreading.Thread(target=lambda: print(int(input()) ** 2)).start()",
        "import atexit\natexit.register(lambda: print(int(input()) ** 2))",
        "import pickle\nclass P: pass\npickle.loads(pickle.dumps(P()))\nprint(int(input()) ** 2)",
        "def power(x, n):\n    return 1 if n == 0 else x * power(x, n - 1)\nprint(power(int(input()), 2))",
    ],
)
def test_programs_that_read_and_print(code: Code, source: str) -> None:
    assert judged(code, SQUARED_LINES, source).passed


def test_many_runs_of_a_program() -> None:
    meta = stdin(*((f"{x}\ud800", f"{x}") for x in range(200)))
    source = "import sys\nprint(sys.stdin.buffer.read().split(b'\\xed')[0].decode())"
    assert judged(Code(CodeOptions()), meta, source).passed


def test_numbers_in_text_within_a_tolerance(code: Code) -> None:
    thirds = stdin(("1", "0.333333 thirds"), atol=1e-4)
    assert judged(code, thirds, "print(int(input()) / 3, 'thirds')").passed
    assert not judged(code, thirds, "print(int(input()) / 3.1, 'thirds')").passed
    assert not judged(code, thirds, "print('nan thirds')").passed
    assert not judged(code, stdin(("1", "0.333333")), "print(int(input()) / 3)").passed


@pytest.mark.parametrize(
    ("expected", "source", "passes"),
    [
        (1, "1", True),
        (1, "True", False),
        (1, "1.0", False),
        (True, "1", False),
        (1.0, "1", False),
        (None, "None", True),
        (None, "0", False),
        ([1, 2], "[1, 2]", True),
        ([1, 2], "(1, 2)", False),
        ([1, 2], "[1, True]", False),
        ([], "''", False),
        ("a", "b'a'", False),
        ({"a": [1]}, "{'a': [1]}", True),
        ({"a": 1, "b": 2}, "{'b': 2, 'a': 1}", True),
        ({"1": 1}, "{1: 1}", False),
        ({}, "set()", False),
        (2**70, "2 ** 70", True),
        (0.5, "0.5 + 1e-9", False),
        ("\ud800", "'\\ud800'", True),
        ("é\u2028", "'é\\u2028'", True),
    ],
)
def test_data_is_compared_by_exact_type(code: Code, expected: Any, source: str, passes: bool) -> None:
    assert judged(code, calls({"args": [], "expected": expected}), f"def f(): return {source}").passed is passes


def test_tolerances(code: Code) -> None:
    near = calls({"args": [], "expected": {"x": [0.1, 100.0]}, "atol": 1e-6, "rtol": 1e-3})
    assert judged(code, near, "def f(): return {'x': [0.1000001, 100.05]}").passed
    assert not judged(code, near, "def f(): return {'x': [0.1000001, 101.0]}").passed
    assert not judged(code, near, "def f(): return {'x': [0.1, float('inf')]}").passed
    assert not judged(code, near, "def f(): return {'x': [0.1, float('nan')]}").passed
    assert not judged(code, near, "def f(): return {'x': [0.1, 100]}").passed


@pytest.mark.parametrize(
    ("test", "source", "passes"),
    [
        ("assert f() == 1", "True", True),  # Python's own ==
        ("assert f() == [1.0]", "[1]", True),
        ("assert f() is True", "1", False),
        ("assert f() == (1, 2)", "(1, 2)", True),
        ("assert f() == (1, 2)", "[1, 2]", False),
        ("assert f() == {1, 2}", "{2, 1}", True),
        ("assert f() == {(1, 'a'): b'x'}", "{(1, 'a'): b'x'}", True),
        ("assert f() == 1 + 2j", "1 + 2j", True),
        ("assert f() == frozenset([1])", "frozenset([1])", True),
        ("assert f() == {'a': 2}", "__import__('collections').Counter('aa')", True),
        ("assert f() == float('inf')", "float('inf')", True),
        ("assert f() != f()", "float('nan')", True),
        ("assert abs(f() - 0.3) < 1e-9", "0.1 + 0.2", True),
        ("assert f() == 3 ** 10000", "3 ** 10000", True),
        ("assert sorted(f()) == [1, 2]", "[2, 1]", True),
        ("assert sorted(f()) == [1, 2]", "3", False),
        ("assert f(f()) == 2", "2", True),
        ("assert f(1, key=[2]) == 3", "3", True),
        ("assert not f()", "''", True),
    ],
)
def test_asserts_are_pythons_own(code: Code, test: str, source: str, passes: bool) -> None:
    verdict = judged(code, asserts(test), f"def f(*args, **kwargs): return {source}")
    assert verdict.status is Status.SCORED and verdict.passed is passes, verdict


def test_calls_that_depend_on_answers(code: Code) -> None:
    chain = asserts("x = 1\nfor _ in range(8):\n    x = f(x)\nassert x == 256")
    assert judged(code, chain, "def f(x): return 2 * x").passed
    assert not judged(code, chain, "def f(x): return 2 * x + 1").passed
    waiting = asserts("x = 3\nwhile x:\n    x = f(x)\nassert x == 0")
    assert judged(code, waiting, "def f(x): return x - 1").passed
    endless = judged(code, waiting, "def f(x): return x + 1")
    assert endless.score == 0 and "rounds" in endless.reason


def test_a_test_may_expect_an_exception(code: Code) -> None:
    raising = asserts("try:\n    f(-1)\n    right = False\nexcept ValueError:\n    right = True", "assert right")
    assert judged(code, raising, "def f(x):\n    raise ValueError('negative')").passed
    assert not judged(code, raising, "def f(x):\n    raise KeyError").passed
    assert not judged(code, raising, "def f(x):\n    return x").passed


def test_no_value_of_a_failed_statement_lives_on(partial_credit: Code) -> None:
    meta = asserts("for x in (4, 0, 0, 0):\n    y = f(x)\n    assert y == 4")
    verdict = judged(partial_credit, meta, "def f(x): return 4 * x // x")
    assert verdict.score is not None and verdict.score < 0.25


def test_answers_that_the_tests_cannot_digest_are_wrong(code: Code) -> None:
    meta = asserts("assert len([0] * f()) == 3")
    assert judged(code, meta, "def f(): return 3").passed
    for huge in ("10 ** 12", "2 ** 70", "'a'"):
        verdict = judged(code, meta, f"def f(): return {huge}")
        assert (verdict.status, verdict.score) == (Status.SCORED, 0.0), verdict
    spinning = judged(code, asserts("for _ in range(f()): pass", "assert True"), "def f(): return 10 ** 12")
    assert (spinning.status, spinning.score) == (Status.SCORED, 0.0), spinning


def test_after_a_timeout_nothing_more_is_tried() -> None:
    patient = Code(CodeOptions(score="fraction", test_seconds=0.5, seconds=60.0))
    verdict = judged(
        patient, calls(*({"args": [x], "expected": x} for x in range(50))), "def f(x):\n    while x: pass\n    return x"
    )
    assert verdict.score == 0.02 and verdict.seconds < 15, verdict
    verdict = judged(patient, stdin(*((f"{x}", f"{x}") for x in range(50))), "x = int(input())\nwhile x: pass\nprint(x)")
    assert verdict.score == 0.02 and verdict.seconds < 15, verdict


def test_no_test_no_pass(code: Code) -> None:
    meta = asserts("for each in f():\n    assert each == 1")
    assert judged(code, meta, "def f(): return [1, 1]").passed
    assert judged(code, meta, "def f(): return []").score == 0


EVALPLUS = {
    "kind": "evalplus",
    "dataset": "mbpp",
    "task_id": "Mbpp/0",
    "entry_point": "f",
    "prompt": "",
    "canonical_solution": "def f(x):\n    return x / 3\n",
    "base_input": [[1.5]],
    "plus_input": [[2.0], [{"float": "inf"}]],
    "atol": 0.0,
}


def special(entry_point: str, canonical: str, *inputs: list[Any], atol: float = 0.0, dataset: str = "mbpp") -> dict[str, Any]:
    changed = {
        "entry_point": entry_point,
        "canonical_solution": canonical,
        "base_input": [*inputs],
        "plus_input": [],
        "atol": atol,
    }
    return EVALPLUS | changed | {"dataset": dataset}


@pytest.mark.parametrize(
    ("meta", "source", "passes"),
    [
        (EVALPLUS, "def f(x): return x / 3", True),
        (EVALPLUS, "def f(x): return x / 3 + 1e-9", True),
        (EVALPLUS, "def f(x): return x / 3 + 1e-3", False),
        (EVALPLUS, "def f(x): return [x / 3]", False),
        (EVALPLUS, "def f(x): return None", False),
        (special("sum_div", "def sum_div(x):\n    return 5", [1]), "def sum_div(x): return 0", True),
        (special("sum_div", "def sum_div(x):\n    return 5", [1]), "def sum_div(x): return 4", False),
        (special("are_equivalent", "def are_equivalent(x):\n    return 5", [1]), "def are_equivalent(x): return 4", True),
        (special("are_equivalent", "def are_equivalent(x):\n    return 5", [1]), "def are_equivalent(x): raise KeyError", False),
        (special("Diff", "def Diff(x):\n    return [1, 2]", [1]), "def Diff(x): return [2, 1, 1]", True),
        (special("Diff", "def Diff(x):\n    return [1, 2]", [1]), "def Diff(x): return 12", False),
        (special("check_str", "def check_str(x):\n    import re\n    return re.match('a', x)", ["a"], ["b"]),
         "def check_str(x): return 1 if x == 'a' else None", True),
        (special("check_str", "def check_str(x):\n    import re\n    return re.match('a', x)", ["a"], ["b"]),
         "def check_str(x): return x == 'a'", True),
        (special("check_str", "def check_str(x):\n    import re\n    return re.match('a', x)", ["a"], ["b"]),
         "def check_str(x): return object()", False),
        (special("check_str", "def check_str(x):\n    import re\n    return re.match('a', x)", ["a"], ["b"]),
         "def check_str(x): raise KeyError", False),
        (special("digit_distance_nums", "def digit_distance_nums(a, b):\n    return 0", [12, 1]),
         "def digit_distance_nums(a, b): return 2", True),
        (special("surface_Area", "def surface_Area(a, b):\n    return 0", [3, 4]), "def surface_Area(a, b): return 35", True),
        (special("surface_Area", "def surface_Area(a, b):\n    return 0", [3, 4]), "def surface_Area(a, b): return 34", False),
        (special("find_zero", "def find_zero(xs):\n    return -0.5", [[1, 2]], atol=1e-4, dataset="humaneval"),
         "def find_zero(xs): return -xs[0] / xs[1] + 1e-6", True),
        (special("find_zero", "def find_zero(xs):\n    return -0.5", [[1, 2]], atol=1e-4, dataset="humaneval"),
         "def find_zero(xs): return 'x'", False),
    ],
)  # fmt: skip
def test_evalplus_and_its_special_cases(code: Code, meta: dict[str, Any], source: str, passes: bool) -> None:
    verdict = judged(code, meta, source)
    assert verdict.status is Status.SCORED and verdict.passed is passes, verdict
    assert all(name.startswith(("base/", "plus/")) for name in verdict.parts)


@pytest.mark.parametrize(
    ("meta", "why"),
    [
        ({}, "no programming problem"),
        ({"kind": "other"}, "no programming problem"),
        ({"kind": ["stdin"]}, "no programming problem"),
        (calls(), "no programming problem"),
        (calls({"args": 1, "expected": 1}), "no programming problem"),
        (SQUARES | {"function": "f; import os"}, "no programming problem"),
        (asserts(), "no programming problem"),
        (asserts("assert f(1) =="), "do not run: SyntaxError"),
        (asserts("assert f(1) == 1", setup="import nowhere"), "do not run: ModuleNotFoundError"),
        (asserts("assert 1 == 1"), "never call"),
        (asserts("assert f(1) == 1", "assert f(object()) == 1"), "an argument of a call: object is no data"),
        (asserts("while True: pass\nassert f(1)"), "do not end well"),
        (asserts("import os; os._exit(0)\nassert f(1)"), "do not end well"),
        (EVALPLUS | {"canonical_solution": "def f(x):\n    return 1 / 0"}, "canonical solution fails"),
        (EVALPLUS | {"base_input": [[{"object": 1}]]}, "no data"),
    ],
)
def test_a_broken_task_is_invalid(code: Code, meta: dict[str, Any], why: str) -> None:
    verdict = judged(code, meta, "def f(x): return x")
    assert verdict.status is Status.INVALID and why in verdict.reason, verdict


def test_numbers_of_json_are_tolerances_too() -> None:
    assert problem(calls({"args": [], "expected": 1.5, "atol": 0, "rtol": 1}))


def test_other_keys_of_meta_are_not_ours() -> None:
    assert problem(SQUARES | {"source": "somewhere"}).kind == "calls"
    with pytest.raises(BrokenProblem, match=r"tests\.0\.expect"):
        problem(calls({"args": [], "expect": 1}))


def test_a_response_without_a_program_fails(code: Code) -> None:
    (verdict,) = verify(code, [Task("", "I do not know.", meta=SQUARES)])
    assert (verdict.score, verdict.reason) == (0.0, "no program: no fenced block")


def test_without_a_jail_by_that_name_only() -> None:
    verdict = judged(Code(CodeOptions(sandbox="unsafe_no_jail")), SQUARES, "def f(x): return x * x")
    assert verdict.passed and verdict.flags == ("unsafe_no_jail",)


def test_no_jail_no_verifier(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_: Sandbox) -> None:
        raise SandboxUnavailable("bubblewrap is missing")

    monkeypatch.setattr(Sandbox, "__init__", refuse)
    with pytest.raises(SandboxUnavailable, match="bubblewrap"):
        Code(CodeOptions())


def test_prints_of_a_function_are_no_answers(code: Code) -> None:
    assert judged(code, SQUARES, "print('{}')\ndef f(x):\n    print('{\"value\": 1}')\n    return x * x").passed


def test_an_argument_is_fresh_in_each_call(code: Code) -> None:
    meta = calls({"args": [[1]], "expected": 1}, {"args": [[1]], "expected": 1})
    assert judged(code, meta, "def f(xs):\n    xs.append(1)\n    return len(xs) - 1").passed


def test_in_a_pool_an_endless_program_fails_and_the_next_passes() -> None:
    options = {"test_seconds": 0.3, "seconds": 1.0}
    with Pool({"code": Spec("verifiers.code:Code", options, timeout_s=5.0)}, workers=1, memory_mib=1024) as pool:
        tasks = [
            Task("", f"```python\n{source}\n```", meta=SQUARES)
            for source in ("def f(x):\n    while True: pass", "def f(x): return x * x")
        ]
        endless, right = pool.verify("code", tasks)
    assert endless.score == 0 and endless.reason.startswith("timeout"), endless
    assert right.passed, right
