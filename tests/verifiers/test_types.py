"""verifiers.types, verifiers.calls and what importing the package costs."""

import subprocess
import sys
from pathlib import Path

import pytest

import verifiers
from verifiers import Status, Task, Verdict, invalid, scored

ROOT = Path(__file__).parents[2]


def test_package_is_this_repository_s() -> None:
    assert Path(verifiers.__file__).parent == ROOT / "verifiers"


@pytest.mark.parametrize("module", ["verifiers", "verifiers.registry", "verifiers.pool", "verifiers.compose"])
def test_import_is_cheap_and_free_of_the_platform(module: str) -> None:
    code = (
        f"import sys, time; begin = time.perf_counter(); import {module}; seconds = time.perf_counter() - begin\n"
        "heavy = {'torch', 'ray', 'tower_rl', 'sympy', 'math_verify', 'pydantic', 'py3langid', 'numpy'} & set(sys.modules)\n"
        "print(seconds, sorted(heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    seconds, heavy = done.stdout.split(" ", 1)
    assert heavy.strip() == "[]"
    assert float(seconds) < 0.5


def test_the_family_does_not_load_the_platform() -> None:
    code = (
        "import sys, verifiers as v\n"
        "verdicts = [v.load(name).verify([v.Task('', 'x')]) for name in ('math', 'constraints', 'translation_rules')]\n"
        "print(sorted({'torch', 'ray', 'tower_rl'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_scored_and_invalid() -> None:
    assert scored(1).passed is True
    assert scored(0.99).passed is False
    assert scored(0.5, passed=True).passed is True
    assert (invalid("why").score, invalid("why").passed, invalid("why").status) == (None, None, Status.INVALID)


@pytest.mark.parametrize(
    "wrong",
    [
        {"score": None, "passed": None, "status": Status.SCORED},
        {"score": 0.5, "passed": False, "status": Status.INVALID},
        {"score": 0.5, "passed": None, "status": Status.SCORED},
        {"score": 1.5, "passed": True, "status": Status.SCORED},
        {"score": float("nan"), "passed": True, "status": Status.SCORED},
        {"score": 0.5, "passed": True, "status": Status.SCORED, "parts": {"a": float("nan")}},
    ],
)
def test_verdicts_that_contradict_themselves_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError):
        Verdict(**wrong)  # type: ignore[arg-type]


def test_verify_stamps_name_and_seconds() -> None:
    verifier = verifiers.load("constraints")
    tasks = [Task("", "hello", meta={"rules": [{"rule": "lowercase"}]})] * 2
    for verdict in verifiers.verify(verifier, tasks, "mine"):
        assert (verdict.score, verdict.verifier) == (1.0, "mine")
        assert verdict.seconds > 0
    assert verifiers.verify(verifier, tasks)[0].verifier == "Constraints"
    assert verifiers.verify(verifier, []) == []


def test_verify_turns_exceptions_and_wrong_counts_into_invalid_verdicts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "helpers"))
    (raised,) = verifiers.verify(verifiers.load("hostile:Hostile"), [Task("", "raise")])
    assert raised.reason == "verifier error: RuntimeError: my own bug"
    counted = verifiers.verify(verifiers.load("hostile:TooFew"), [Task("", "fine")] * 2)
    assert [verdict.status for verdict in counted] == [Status.INVALID] * 2
    assert "0 answers" in counted[0].reason
