"""In the tests' jail: run asserts with a stand-in for the candidate that replays its answers. Standard library only.

`python checks.py FUNCTION` with `setup.py` and `checked.py` beside it and on stdin `{"answers": {call: answer}}`. It answers
`{"outcomes": [...], "pending": [...]}` ("" or what failed, a test each, and the calls without an answer) or
`{"broken": why}`. While calls are pending the outcomes mean nothing: statements that need an answer were skipped, to learn of
many calls at once.
"""

import ast
import builtins
import json
import random
import re
import sys
from pathlib import Path
from typing import Any

from data import canonical, decode

MAX_SKIPPED = 20_000
"""Statements that may lack an answer before the run is cut short: a loop may wait for an answer that is not there yet."""
_WHOLE = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Import, ast.ImportFrom, ast.Global, ast.Nonlocal)
_REPLAYED = (
    *(
        "ArithmeticError",
        "AssertionError",
        "AttributeError",
        "EOFError",
        "Exception",
        "FileNotFoundError",
        "IndexError",
        "KeyError",
    ),
    *("LookupError", "NameError", "NotImplementedError", "OSError", "OverflowError", "PermissionError", "RecursionError"),
    *("RuntimeError", "StopIteration", "TimeoutError", "TypeError", "ValueError", "ZeroDivisionError"),
)
"""Exceptions of a candidate that tests may expect; any other reaches them as CandidateError."""
_PASSED, _FAILED, _ENTRY = "_passed_", "_failed_", "check"


class Pending(BaseException):
    """A call has no answer yet."""


class Enough(BaseException):
    """Too much was skipped, or a call cannot be sent."""


class CandidateError(Exception):
    """The candidate failed in a way that tests do not expect."""


class Run:
    """One run of the tests."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.outcomes: list[str] = []
        self.pending: dict[str, None] = {}
        self.unusable = ""
        self._skipped = 0

    def candidate(self, *args: Any, **kwargs: Any) -> Any:
        """Replay the answer to this call."""
        try:
            call = canonical(([*args], kwargs))
        except TypeError as error:
            self.unusable = f"an argument of a call: {error}"
            raise Enough from error
        if call not in self.answers:
            self.pending[call] = None
            raise Pending
        answer = self.answers[call]
        if "value" in answer:
            return decode(answer["value"])
        kind: Any = getattr(builtins, answer["error"]) if answer["error"] in _REPLAYED else CandidateError
        failure = kind()
        failure.of_candidate = answer["failure"]
        raise failure

    def passed(self) -> None:
        self.outcomes.append("")

    def failed(self) -> None:
        """Note the exception that is being handled. Raises Enough."""
        error = sys.exc_info()[1]
        if isinstance(error, (Pending, Enough)):
            self._skipped += 1
            if self._skipped > MAX_SKIPPED or isinstance(error, Enough):
                raise Enough
        else:
            self.outcomes.append(getattr(error, "of_candidate", "wrong answer"))

    def run(self, function: str, setup: str, tests: str) -> None:
        """Raises whatever the setup raises, and SyntaxError."""
        random.seed(0)
        names: dict[str, Any] = {"__name__": "tests", _PASSED: self.passed, _FAILED: self.failed}
        exec(compile(setup, "setup", "exec"), names)
        names[function] = self.candidate
        try:
            exec(compile(_guarded_module(tests), "tests", "exec"), names)
            if _ENTRY in names and function != _ENTRY:
                names[_ENTRY](self.candidate)
        except (Pending, Enough):
            pass


def _guarded_module(tests: str) -> ast.Module:
    """Each statement on its own: a failure is noted and the next statement runs."""
    tree = ast.parse(tests)
    for entry in tree.body:
        if isinstance(entry, ast.FunctionDef) and entry.name == _ENTRY:
            entry.body = _guarded(entry.body)
    tree.body = _guarded(tree.body)
    return ast.fix_missing_locations(tree)


def _guarded(statements: list[ast.stmt]) -> list[ast.stmt]:
    return [each if isinstance(each, _WHOLE) else _caught(each) for each in statements]


def _caught(statement: ast.stmt) -> ast.stmt:
    if isinstance(statement, (ast.For, ast.While, ast.If, ast.With)):
        statement.body = _guarded(statement.body)
    if isinstance(statement, (ast.For, ast.While, ast.If)):
        statement.orelse = _guarded(statement.orelse)
    handler = ast.ExceptHandler(None, None, [_call(_FAILED), *_unset(statement)])
    passed = [_call(_PASSED)] if _is_test(statement) else []
    return ast.Try([statement], [handler], passed, [])


def _is_test(statement: ast.stmt) -> bool:
    """An assert, or the call of a helper that asserts: `right(candidate(1), 2)`."""
    helper = (
        isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call) and isinstance(statement.value.func, ast.Name)
    )
    return helper or isinstance(statement, ast.Assert)


def _unset(statement: ast.stmt) -> list[ast.stmt]:
    """No name keeps an old value when its assignment fails."""
    targets = statement.targets if isinstance(statement, ast.Assign) else []
    return [ast.Assign([target], ast.Constant(None)) for target in targets if isinstance(target, ast.Name)]


def _call(name: str) -> ast.stmt:
    return ast.Expr(ast.Call(ast.Name(name, ast.Load()), [], []))


def main(function: str) -> None:
    """Run and answer."""
    here = Path(__file__).parent
    run = Run(json.loads(sys.stdin.read())["answers"])
    channel, sys.stdout = sys.stdout, sys.stderr
    try:
        run.run(function, *((here / name).read_text("utf-8") for name in ("setup.py", "checked.py")))
    except Exception as error:
        run.unusable = re.sub(r"\s+", " ", f"{type(error).__name__}: {error}")[:200]
    found = {"outcomes": run.outcomes, "pending": list(run.pending)}
    json.dump({"broken": run.unusable} if run.unusable else found, channel)


if __name__ == "__main__":
    main(sys.argv[1])
