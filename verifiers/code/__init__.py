"""`code`: does the program in a response solve the problem of the task's meta? The candidate gets inputs and answers with data.

What is expected never enters the candidate's jail, so there is nothing to find and nothing to fake: values are compared outside,
and test code runs in a jail of its own with the candidate's answers.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, Field

from verifiers.code import compare, oracles
from verifiers.code.data import canonical, decode
from verifiers.code.extract import NoProgram, opened, program
from verifiers.code.problems import AssertsProblem, BrokenProblem, CallsProblem, EvalplusProblem, Problem, StdinProblem, problem
from verifiers.code.runs import NOT_DATA, Answer, Runner
from verifiers.options import VerifierOptions
from verifiers.sandbox import AnySandbox, PreforkedSandbox, Sandbox, UnsafeSandbox
from verifiers.types import Task, Verdict, invalid, scored

ROUNDS = 12
"""How often the answers to a test's calls may lead to further calls."""
_WRONG = "wrong answer"
_SANDBOXES: dict[str, Callable[[], AnySandbox]] = {
    "jail": Sandbox,
    "preforked": PreforkedSandbox,
    "unsafe_no_jail": UnsafeSandbox,
}


class CodeOptions(VerifierOptions):
    """Options of `code`."""

    score: Literal["all", "fraction"] = "all"
    """1 for all tests passed and else 0, or the share of passed tests."""
    test_seconds: float = Field(2.0, gt=0)
    """CPU seconds of one test."""
    seconds: float = Field(8.0, gt=0)
    """CPU seconds of all tests of a response; three times as much wall time."""
    memory_mib: int = Field(512, ge=64)
    """Address space of a process in the sandbox."""
    sandbox: Literal["jail", "preforked", "unsafe_no_jail"] = "jail"
    """A fresh jail for each program; or one that forks for programs one after the other, faster and with less between them; or
    `unsafe_no_jail`, with all rights of this process, for trusted programs only. Verdicts of the last carry that flag."""


class Code:
    """1 when the program in the response passes all tests. Kinds of problems: stdin, calls, asserts, evalplus.

    Raises SandboxUnavailable when made where no jail can be had.
    """

    Options: ClassVar[type[BaseModel]] = CodeOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: CodeOptions) -> None:
        self._options = options
        self._flags = ("unsafe_no_jail",) if options.sandbox == "unsafe_no_jail" else ()
        self._runner = Runner(_SANDBOXES[options.sandbox](), options.test_seconds, options.seconds, options.memory_mib)

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._judge(task) for task in tasks]

    def _judge(self, task: Task) -> Verdict:
        try:
            asked = problem(task.meta)
            source = program(task.response, *_signature(asked))
            return self._verdict(self._outcomes(asked, source))
        except NoProgram as error:
            return scored(0.0, reason=f"no program: {error}", flags=self._flags)
        except BrokenProblem as error:
            return invalid(str(error), flags=self._flags)

    def _verdict(self, outcomes: dict[str, str]) -> Verdict:
        parts = {name: float(not failure) for name, failure in outcomes.items()}
        share = sum(parts.values()) / len(parts)
        score = share if self._options.score == "fraction" else float(share == 1)
        failures = (f"{failure} ({name} of {len(outcomes)})" for name, failure in outcomes.items() if failure)
        reason = next(failures, "")
        flags = ("forged_output",) if "forged output" in outcomes.values() else ()
        return scored(score, reason=reason, parts=parts, flags=(*self._flags, *flags))

    def _outcomes(self, asked: Problem, source: str) -> dict[str, str]:
        """By test: "" or why it failed."""
        match asked:
            case StdinProblem():
                return _numbered(self._stdin(asked, source))
            case CallsProblem():
                return _numbered(self._calls(asked, source))
            case AssertsProblem():
                return _numbered(self._asserts(asked, source))
            case EvalplusProblem():
                return self._evalplus(asked, source)

    def _stdin(self, asked: StdinProblem, source: str) -> list[str]:
        answers = self._runner.programs(source, [test.input for test in asked.tests])
        return [
            _outcome(answer, type(answer.value) is str and compare.same_text(answer.value, test.output, asked.atol))
            for answer, test in zip(answers, asked.tests, strict=True)
        ]

    def _calls(self, asked: CallsProblem, source: str) -> list[str]:
        answers = self._runner.calls(source, asked.function, [_call(test.args) for test in asked.tests])
        return [
            _outcome(answer, not answer.failure and compare.same(decode(answer.value), test.expected, test.atol, test.rtol))
            for answer, test in zip(answers, asked.tests, strict=True)
        ]

    def _asserts(self, asked: AssertsProblem, source: str) -> list[str]:
        tests = asked.tests if isinstance(asked.tests, str) else "\n".join(asked.tests)
        setup = opened(asked.prompt) + "\n" + asked.setup
        checked = self._runner.first_calls(asked.function, setup, tests)
        if not checked.pending:
            raise BrokenProblem("the tests never call the function")
        answers: dict[str, dict[str, Any]] = {}
        for _ in range(ROUNDS):
            replies = self._runner.calls(source, asked.function, checked.pending)
            answers |= {call: _told(reply) for call, reply in zip(checked.pending, replies, strict=True)}
            try:
                checked = self._runner.checks(asked.function, setup, tests, answers)
            except BrokenProblem:  # they ran without these answers
                return ["the tests do not end with these answers"]
            if not checked.pending:
                return [*checked.outcomes] or ["no test ran with these answers"]
        return [f"the answers lead to more than {ROUNDS} rounds of calls"]

    def _evalplus(self, asked: EvalplusProblem, source: str) -> dict[str, str]:
        names = [f"base/{i}" for i in range(len(asked.base_input))] + [f"plus/{i}" for i in range(len(asked.plus_input))]
        inputs = [_decoded(form) for form in (*asked.base_input, *asked.plus_input)]
        calls = tuple(map(_call, inputs))
        wanted = self._runner.canonical(asked.prompt + asked.canonical_solution, asked.entry_point, calls)
        answers = self._runner.calls(source, asked.entry_point, calls)
        outcomes = map(partial(_by_oracle, asked), inputs, answers, wanted)
        return dict(zip(names, outcomes, strict=True))


def _signature(asked: Problem) -> tuple[str, str]:
    """The prompt that a response may complete, and the name of its function."""
    match asked:
        case StdinProblem():
            return "", ""
        case EvalplusProblem():
            return asked.prompt, asked.entry_point
        case _:
            return asked.prompt, asked.function


def _call(args: list[Any]) -> str:
    """Raises BrokenProblem."""
    try:
        return canonical((args, {}))
    except TypeError as error:
        raise BrokenProblem(f"an input is no data: {error}") from error


def _decoded(form: Any) -> Any:
    """Raises BrokenProblem."""
    try:
        return decode(form)
    except ValueError as error:
        raise BrokenProblem(f"an input is no data: {error}") from error


def _outcome(answer: Answer, right: bool) -> str:
    return answer.failure or ("" if right else _WRONG)


def _told(answer: Answer) -> dict[str, Any]:
    """An answer as the tests get it."""
    return {"error": answer.error, "failure": answer.failure} if answer.failure else {"value": answer.value}


def _by_oracle(asked: EvalplusProblem, args: list[Any], answer: Answer, wanted: Answer) -> str:
    if oracles.only_presence(asked):
        return _WRONG if _present(answer) != _present(wanted) else ""
    if answer.failure:
        return answer.failure
    return _outcome(answer, oracles.right(asked, args, decode(answer.value), decode(wanted.value)))


def _present(answer: Answer) -> bool | str:
    """True or False as such, any other value as whether it is one, a failure as itself."""
    if answer.failure and answer.error != NOT_DATA:
        return answer.failure
    return answer.value if isinstance(answer.value, bool) else bool(answer.failure) or answer.value is not None


def _numbered(outcomes: list[str]) -> dict[str, str]:
    return {f"test/{i}": outcome for i, outcome in enumerate(outcomes)}
