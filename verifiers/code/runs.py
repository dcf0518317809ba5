"""Runs in the sandbox: of a candidate, whose every word is taken as its own and no more, and of tests apart from it."""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from verifiers.code.data import decode
from verifiers.code.problems import BrokenProblem
from verifiers.sandbox import PYTHON, AnySandbox, Ended, Limits, Result
from verifiers.text import strict_json

WALL_FACTOR = 3
"""Wall time over CPU time that is allowed: for busy machines and sleeping programs."""
OUTPUT_BYTES = 8 * 2**20
PRINTED_BYTES = 2**20
"""What one run of a program may print."""
NOT_DATA = "NotData"
"""The error of a function that returned an object of another type than those of verifiers.code.data."""
_HERE = Path(__file__).parent
_NAMES = {
    "TimeLimit": "timeout",
    "MemoryError": "memory",
    "NoFunction": "the function is not defined",
    "OutputLimit": "output limit",
    NOT_DATA: "answer is no data",
    "ExitStatus": "exit status is not 0",
}


@dataclass(frozen=True, slots=True)
class Answer:
    """To one input: a form of data, or why there is none."""

    value: Any = None
    failure: str = ""
    error: str = ""
    """Name of the exception, as the candidate says."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A run of the tests: "" or what failed, for each; and calls that wait for an answer."""

    outcomes: tuple[str, ...]
    pending: tuple[str, ...]


class Runner:
    """Runs with the same limits."""

    def __init__(self, sandbox: AnySandbox, test_seconds: float, seconds: float, memory_mib: int) -> None:
        self._sandbox = sandbox
        self._harnesses = {path.name: path.read_bytes() for path in (_HERE / "data.py", *(_HERE / "jailed").glob("*.py"))}
        self._test_seconds = test_seconds
        self._limits = Limits(wall_s=WALL_FACTOR * seconds, cpu_s=seconds, memory_mib=memory_mib, output_bytes=OUTPUT_BYTES)
        self.first_calls = lru_cache(maxsize=512)(self._first_calls)
        """The run of tests without any answers, which is the same for all candidates."""
        self.canonical = lru_cache(maxsize=32)(self._canonical)
        """The answers of a canonical solution. Raises BrokenProblem."""

    def calls(self, program: str, function: str, calls: Sequence[str]) -> list[Answer]:
        """The candidate's answers to canonical `(args, kwargs)`."""
        lines = "".join(call + "\n" for call in calls)
        result = self._run("calls.py", {"program.py": program}, [function, str(self._test_seconds)], lines)
        return _answers(result, len(calls), self._limits.cpu_s)

    def programs(self, program: str, inputs: Sequence[str]) -> list[Answer]:
        """What the candidate prints for each stdin."""
        lines = "".join(json.dumps(text) + "\n" for text in inputs)
        result = self._run("programs.py", {"program.py": program}, [str(self._test_seconds), str(PRINTED_BYTES)], lines)
        return _answers(result, len(inputs), self._limits.cpu_s)

    def checks(self, function: str, setup: str, tests: str, answers: Mapping[str, Any]) -> Checked:
        """Run tests with these answers. Raises BrokenProblem."""
        given = json.dumps({"answers": answers})
        result = self._run("checks.py", {"setup.py": setup, "checked.py": tests}, [function], given)
        try:
            report = json.loads(result.stdout)
        except ValueError:
            end = f"{result.ended} {result.stderr[-200:].decode(errors='replace')}".strip()
            raise BrokenProblem(f"the tests do not end well: {end}") from None
        if "broken" in report:
            raise BrokenProblem(f"the tests do not run: {report['broken']}")
        return Checked(tuple(report["outcomes"]), tuple(report["pending"]))

    def _first_calls(self, function: str, setup: str, tests: str) -> Checked:
        return self.checks(function, setup, tests, {})

    def _canonical(self, program: str, function: str, calls: tuple[str, ...]) -> list[Answer]:
        answers = self.calls(program, function, calls)
        if failed := next((answer.failure for answer in answers if answer.failure and answer.error != NOT_DATA), ""):
            raise BrokenProblem(f"the canonical solution fails: {failed}")
        return answers

    def _run(self, harness: str, sources: Mapping[str, str], arguments: Sequence[str], stdin: str) -> Result:
        files = {name: _utf8(source) for name, source in sources.items()}
        files |= {harness: self._harnesses[harness], "data.py": self._harnesses["data.py"]}
        return self._sandbox.run(files, [PYTHON, "-s", "-E", "-B", harness, *arguments], stdin.encode(), self._limits)


def _utf8(source: str) -> bytes:
    return source.encode("utf-8", "surrogatepass")  # a lone surrogate is the compiler's to refuse


def _answers(result: Result, count: int, cpu_s: float) -> list[Answer]:
    """One answer an input, from what a hostile process wrote: anything but the agreed lines counts for nothing."""
    *lines, rest = result.stdout.split(b"\n")
    forged = [Answer(failure="forged output")] * count
    try:
        answers = [_answer(line) for line in (lines[1:] if lines[:1] == [b"{}"] else lines)]
    except ValueError:
        return forged
    if lines and lines[0] != b"{}":  # then the program could not be defined
        return answers * count if len(answers) == 1 and answers[0].failure else forged
    if len(answers) > count or (rest and result.ended is Ended.EXIT):
        return forged
    return answers + [Answer(failure=_missing(result, cpu_s))] * (count - len(answers))


def _answer(line: bytes) -> Answer:
    """Raises ValueError."""
    message = strict_json(line.decode("ascii"))
    if type(message) is not dict or len(message) != 1:
        raise ValueError("not one key")
    ((key, content),) = message.items()
    if key == "value":
        decode(content)
        return Answer(content)
    if key not in ("error", "compile") or type(content) is not str or not re.fullmatch(r"\w{1,60}", content, re.ASCII):
        raise ValueError("not an answer")
    kind = "compile error" if key == "compile" else "exception"
    return Answer(failure=_NAMES.get(content, f"{kind}: {content}"), error=content)


def _missing(result: Result, cpu_s: float) -> str:
    """Why an answer is not there."""
    by_end = {Ended.TIMEOUT: "timeout", Ended.OUTPUT_LIMIT: "output limit", Ended.KILLED: "killed"}
    out_of_cpu = result.ended is Ended.KILLED and result.wall_s >= cpu_s
    return "timeout" if out_of_cpu else by_end.get(result.ended, "the process ended early")
