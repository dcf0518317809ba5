"""`math`: is the final answer of a solution equal to the gold answer? math-verify, with its known false positives closed.

Run it in a pool: parts of sympy are single C calls that no alarm interrupts. The pre-filter makes that rare, the pool safe.
"""

import logging
import signal
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from types import FrameType
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from verifiers.calls import out_of_time
from verifiers.math import form
from verifiers.math.answer import MAX_LENGTH, boxed_answers, final_answer, normalised, readings, references, too_costly
from verifiers.options import VerifierOptions
from verifiers.types import Task, Verdict, invalid, scored

_ECHO = "the answer repeats a part of the problem"


class _OutOfTime(BaseException):
    """Not an Exception: sympy swallows those."""


class MathOptions(VerifierOptions):
    """Options of `math`."""

    language: str = "en"
    """How numbers are written when a task's meta has no `language`."""
    last_number: bool = False
    """Take the last number of a response that states no final answer."""
    seconds: float = Field(default=3.0, gt=0)
    """CPU seconds for one response; then it fails. On the main thread only: elsewhere nothing but a pool bounds it."""


class Math:
    """Final answer equals the gold answer: boxed or stated, numbers, expressions, sets, intervals; decimal comma by language."""

    Options: ClassVar[type[BaseModel]] = MathOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: MathOptions) -> None:
        import math_verify  # seconds of import, which listing the verifiers should not cost

        for module in ("parser", "grader"):  # they warn that their alarm is off; _cpu_limit takes its place
            logging.getLogger(f"math_verify.{module}").setLevel(logging.ERROR)
        self._options = options
        self._library: Any = math_verify
        self._parsed = lru_cache(maxsize=1024)(self._parse)

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._judge(task) for task in tasks]

    def _judge(self, task: Task) -> Verdict:
        if isinstance(task.reference, bool) or not isinstance(task.reference, str | int | float):
            return invalid(f"the reference is text or a number, not {type(task.reference).__name__}")
        gold = normalised(form.unwrapped(str(task.reference)))
        if not gold:
            return invalid("the reference is empty")
        found = final_answer(task.response, self._options.last_number)
        if not found:
            return scored(0.0, reason="no final answer: neither a closed \\boxed{...} nor a stated one")
        if len(found) > 4 * MAX_LENGTH:  # before anything looks at it closely
            return scored(0.0, reason=f"not evaluated: an answer of {len(found)} characters", flags=("costly_answer",))
        flags = ("many_boxes",) if len(boxed_answers(task.response)) > 1 else ()
        answer = normalised(found)
        if form.squeezed(answer) == form.squeezed(gold):
            return scored(1.0, flags=flags)
        language = task.meta.get("language", self._options.language)
        return self._compare(task.prompt, answer, gold, str(language), flags)

    def _compare(self, prompt: str, answer: str, gold: str, language: str, flags: tuple[str, ...]) -> Verdict:
        """For an answer that is not written like the gold one."""
        if why := too_costly(answer):
            return scored(0.0, reason=f"not evaluated: the answer has {why}", flags=(*flags, "costly_answer"))
        if form.is_words(gold):
            right = form.words(answer) == form.words(gold)
            return scored(float(right), reason="" if right else "another answer", flags=flags)
        if form.echoes(prompt, answer):
            return scored(0.0, reason=_ECHO, flags=(*flags, "echo"))
        reasons = []
        try:
            with _cpu_limit(self._options.seconds):
                golds = {wanted: self._parsed(wanted) for wanted in map(form.plainly, references(gold, language))}
        except _OutOfTime:
            return invalid(f"the reference cannot be parsed in {self._options.seconds:g} s of CPU time")
        if not all(golds.values()):
            return invalid(f"the reference cannot be parsed: {gold[:100]}")
        try:
            with _cpu_limit(self._options.seconds):
                for wanted, parsed_gold in golds.items():
                    for reading in readings(answer, language, wanted):
                        reason = self._different(form.written_like(wanted, reading), wanted, parsed_gold, prompt)
                        if not reason:
                            return scored(1.0, flags=flags)
                        reasons.append(reason)
        except _OutOfTime:
            return out_of_time(self._options.seconds, blame_response=True)
        return scored(0.0, reason=reasons[0], flags=(*flags, "echo") if reasons[0] == _ECHO else flags)

    def _different(self, answer: str, gold: str, parsed_gold: list[Any], prompt: str) -> str | None:
        """Why the answer is not the gold one, or None. An error while comparing is raised: then nothing is known."""
        if form.same_share(answer, gold):
            return None
        if why := form.refused(answer, gold):
            return why
        value = form.comparable(answer, gold)
        ours, theirs = form.plain_number(gold), form.plain_number(value)
        if ours is not None and theirs is not None and (ours == theirs or (form.is_decimal(ours) and form.is_decimal(theirs))):
            return None if ours == theirs else "another answer"  # most tasks end here, without 10 ms of sympy
        try:
            parsed = self._parse(value)
        except Exception as error:
            return f"the answer cannot be parsed: {type(error).__name__}"
        if not parsed:
            return "the answer cannot be parsed"
        if not self._library.verify(parsed_gold, parsed, timeout_seconds=None, raise_on_error=True):
            return "another answer"
        return _ECHO if self._repeats(prompt, value, parsed, parsed_gold) else None

    def _repeats(self, prompt: str, answer: str, parsed: list[Any], parsed_gold: list[Any]) -> bool:
        """Whether a right answer is a formula of the problem, but for order, + 0 and * 1, and the gold answer is not."""
        formulas = (formula for formula in map(normalised, form.formulas(prompt, answer)) if not too_costly(formula))
        with suppress(Exception):  # a formula of the problem that cannot be read
            copied = any(_same_expression(parsed, self._parsed(formula)) for formula in formulas)
            return copied and not _same_expression(parsed, parsed_gold)
        return False

    def _parse(self, expression: str) -> list[Any]:
        """What math-verify reads in the expression; empty if it is no mathematics. Its own alarm is off, see _cpu_limit."""
        library = self._library
        kinds = [library.LatexExtractionConfig(), library.ExprExtractionConfig()]
        found = library.parse(f"${expression}$", extraction_config=kinds, parsing_timeout=None, raise_on_error=True)
        return [each for each in found if not isinstance(each, str)]


def _same_expression(first: list[Any], second: list[Any]) -> bool:
    """Whether two parsed expressions are written alike, in sympy's order of terms."""
    return bool(first and second and first[0].doit() == second[0].doit())


@contextmanager
def _cpu_limit(seconds: float) -> Iterator[None]:
    """Raise _OutOfTime in the main thread after so many CPU seconds; anywhere else there are no signals, so no limit."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ring(number: int, frame: FrameType | None) -> None:
        raise _OutOfTime

    before = signal.signal(signal.SIGVTALRM, ring)
    signal.setitimer(signal.ITIMER_VIRTUAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0)
        signal.signal(signal.SIGVTALRM, before)
