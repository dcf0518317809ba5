"""Programs against the code verifier's harness: none of them passes, in any kind of problem, and each gets a verdict in time."""

from pathlib import Path
from typing import Any

import pytest

from verifiers import Status, Task, Verdict, verify
from verifiers.code import Code, CodeOptions
from verifiers.code.runs import Runner, _answers
from verifiers.sandbox import Ended, Result

pytestmark = pytest.mark.jail

ATTACKS = sorted((Path(__file__).parent / "attacks" / "code").glob("*.py"))
INPUTS = (1, 2, 3)
HONEST = "def solve(x):\n    return 40692 + 7919 * x\n"
KINDS: dict[str, dict[str, Any]] = {
    "calls": {
        "kind": "calls",
        "function": "solve",
        "tests": [{"args": [x], "expected": 40692 + 7919 * x} for x in INPUTS],
    },
    "asserts": {
        "kind": "asserts",
        "function": "solve",
        "tests": [f"assert solve({x}) == {40692 + 7919 * x}" for x in INPUTS],
    },
    "check": {
        "kind": "asserts",
        "function": "solve",
        "prompt": 'def solve(x):\n    """40692 more than 7919 times x: solve(1) is 48611."""\n',
        "tests": "def check(candidate):\n    for x in (1, 2, 3):\n        y = candidate(x)\n        assert y == 40692 + 7919 * x",
    },
    "evalplus": {
        "kind": "evalplus",
        "dataset": "humaneval",
        "task_id": "Own/0",
        "entry_point": "solve",
        "prompt": "def solve(x):\n",
        "canonical_solution": "    return 40692 + 7919 * x\n",
        "base_input": [[1]],
        "plus_input": [[2], [3]],
        "atol": 0.0,
    },
    "stdin": {"kind": "stdin", "tests": [{"input": f"{x}\n", "output": f"{40692 + 7919 * x}\n"} for x in INPUTS]},
}


@pytest.fixture(scope="module")
def code() -> Code:
    return Code(CodeOptions(test_seconds=0.3, seconds=1.0, memory_mib=256))


def judged(code: Code, kind: str, source: str) -> Verdict:
    driver = "\nprint(solve(int(input())))\n" if kind == "stdin" else ""
    (verdict,) = verify(code, [Task("", f"```python\n{source}{driver}\n```", meta=KINDS[kind])])
    return verdict


@pytest.mark.parametrize("kind", KINDS)
def test_the_honest_program_passes(code: Code, kind: str) -> None:
    verdict = judged(code, kind, HONEST)
    assert verdict.passed and verdict.score == 1 and not verdict.reason, verdict


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda path: path.stem)
@pytest.mark.parametrize("kind", KINDS)
def test_no_attack_passes(code: Code, kind: str, attack: Path) -> None:
    verdict = judged(code, kind, attack.read_text())
    assert verdict.status is Status.SCORED, verdict
    assert verdict.score == 0 and verdict.passed is False and verdict.reason, verdict
    assert sum(verdict.parts.values()) <= 1, "at most the visible example"


@pytest.fixture(scope="module")
def preforked() -> Code:
    return Code(CodeOptions(test_seconds=0.3, seconds=1.0, memory_mib=256, sandbox="preforked"))


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda path: path.stem)
def test_no_attack_passes_where_jails_are_used_again(preforked: Code, attack: Path) -> None:
    for kind in ("calls", "asserts"):
        verdict = judged(preforked, kind, attack.read_text())
        assert verdict.status is Status.SCORED and verdict.score == 0, verdict
        assert judged(preforked, kind, HONEST).passed


@pytest.mark.parametrize("attack", ["leaves_something_behind", "child_after_return", "patched_builtins"])
def test_nothing_is_left_behind(code: Code, attack: str) -> None:
    for kind in KINDS:
        judged(code, kind, (ATTACKS[0].parent / f"{attack}.py").read_text())
        assert judged(code, kind, HONEST).passed


HOSTILE_OUTPUT = {
    "nothing": b"",
    "no load line": b'{"value": 1}\n{"value": 1}\n',
    "an answer too many": b'{}\n{"value": 1}\n{"value": 1}\n{"value": 1}\n',
    "no json": b"{}\nyes\n",
    "nan": b'{}\n{"value": NaN}\n{"value": 1}\n',
    "infinity by size": b'{}\n{"value": 1e999}\n{"value": 1}\n',
    "a key twice": b'{}\n{"value": 1, "value": 2}\n{"value": 1}\n',
    "two keys": b'{}\n{"value": 1, "error": "E"}\n{"value": 1}\n',
    "another key": b'{}\n{"passed": true}\n{"passed": true}\n',
    "unknown form": b'{}\n{"value": {"object": 1}}\n{"value": 1}\n',
    "dict as it is": b'{}\n{"value": {"a": 1, "b": 2}}\n{"value": 1}\n',
    "dict of lists": b'{}\n{"value": {"dict": [[[1], 2]]}}\n{"value": 1}\n',
    "dict of three": b'{}\n{"value": {"dict": [[1, 2, 3]]}}\n{"value": 1}\n',
    "set with twins": b'{}\n{"value": {"set": [1, true]}}\n{"value": 1}\n',
    "complex of text": b'{}\n{"value": {"complex": ["a", "b"]}}\n{"value": 1}\n',
    "int of text": b'{}\n{"value": {"int": "1_0"}}\n{"value": 1}\n',
    "int of null": b'{}\n{"value": {"int": null}}\n{"value": 1}\n',
    "bytes of text": b'{}\n{"value": {"bytes": "xyz"}}\n{"value": 1}\n',
    "many digits": b'{}\n{"value": ' + b"9" * 10_000 + b'}\n{"value": 1}\n',
    "nesting": b'{}\n{"value": ' + b"[" * 100_000 + b"\n",
    "no ascii": b'{}\n{"value": "\xff"}\n{"value": 1}\n',
    "error with text": b'{}\n{"error": "a b\\u202e"}\n{"value": 1}\n',
    "error as number": b'{}\n{"error": 1}\n{"value": 1}\n',
    "rest of a line": b'{}\n{"value": 1}\n{"value": 1}\n{"value"',
}


@pytest.mark.parametrize("name", HOSTILE_OUTPUT)
def test_anything_but_the_agreed_lines_counts_for_nothing(name: str) -> None:
    answers = _answers(Result(Ended.EXIT, 0, HOSTILE_OUTPUT[name], b"", 0.1), 2, 1.0)
    assert len(answers) == 2 and all(answer.failure for answer in answers), answers


@pytest.mark.parametrize(
    ("ended", "seconds", "failure"),
    [
        (Ended.TIMEOUT, 2.0, "timeout"),
        (Ended.KILLED, 1.1, "timeout"),
        (Ended.KILLED, 0.1, "killed"),
        (Ended.OUTPUT_LIMIT, 0.1, "output limit"),
        (Ended.EXIT, 0.1, "the process ended early"),
    ],
)
def test_answers_before_the_end_count(ended: Ended, seconds: float, failure: str) -> None:
    first, second = _answers(Result(ended, None, b'{}\n{"value": 1}\n', b"", seconds), 2, 1.0)
    assert (first.value, first.failure, second.failure) == (1, "", failure)


def test_no_expected_value_is_sent_to_the_candidate(monkeypatch: pytest.MonkeyPatch, code: Code) -> None:
    sent: list[bytes] = []
    run = Runner._run

    def spy(self: Runner, harness: str, sources: Any, arguments: Any, stdin: str) -> Result:
        if harness != "checks.py" and "7919" not in sources["program.py"]:
            sent.append("".join([*sources.values(), *arguments, stdin]).encode())
        return run(self, harness, sources, arguments, stdin)

    monkeypatch.setattr(Runner, "_run", spy)
    for kind in ("calls", "asserts", "evalplus", "stdin"):
        judged(code, kind, "def solve(x):\n    return 1\n")
    assert len(sent) == 4
    assert not any(str(40692 + 7919 * x).encode() in text for text in sent for x in INPUTS)
