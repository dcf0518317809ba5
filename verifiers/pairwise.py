"""`pairwise`: a prompt's answers against each other, two at a time, by a judge of pairs."""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any, ClassVar

from pydantic import BaseModel, Field, field_validator

from verifiers.options import VerifierOptions
from verifiers.types import Task, Verdict, invalid, scored

POINTS = {"A": 1.0, "tie": 0.5, "B": 0.0}
"""What a judge may answer, and what it is worth to the answer that it was shown first."""
_TIE = POINTS["tie"]

Judge = Callable[[str, str, str], Any]
"""(question, answer A, answer B) -> a key of POINTS."""


class PairwiseOptions(VerifierOptions):
    """Options of `pairwise`."""

    judge: str = Field(pattern=r"^[\w.]+:\w+$")
    """`module:attribute` of a function (question, answer A, answer B) that answers "A", "B" or "tie", or of a class whose
    instances do; it is made once in a worker, without arguments."""

    @field_validator("judge")
    @classmethod
    def _importable(cls, path: str) -> str:
        _imported(path)
        return path


class JudgeFailed(Exception):
    """The judge raised an exception, or answered what is no answer."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two answers that were compared."""

    points: float = _TIE
    """Of the first: 1 won, 0.5 tied, 0 lost."""
    consistent: bool = True
    """Whether the judge said the same in both orders."""
    failure: str = ""
    """Why they could not be compared; then the rest means nothing."""

    def turned(self) -> "Comparison":
        """The same from the second's side."""
        return Comparison(1 - self.points, self.consistent, self.failure)


class Pairwise:
    """Share of the comparisons with the prompt's other answers that an answer wins, by a judge of pairs; a tie is half a win.

    Each pair is asked about in both orders, and where the judge contradicts itself the pair is tied: judges favour a place (Zheng
    et al. 2023, arXiv 2306.05685, section 3.4). n answers cost at most n(n-1) questions: equal texts tie without one, and
    are compared with others once. An answer is invalid when one of its comparisons failed, or when it is the only one.
    """

    Options: ClassVar[type[BaseModel]] = PairwiseOptions
    timeout_is_failure: ClassVar[bool] = False
    group_aware: ClassVar[bool] = True

    def __init__(self, options: PairwiseOptions) -> None:
        found = _imported(options.judge)
        self._judge: Judge = found() if isinstance(found, type) else found

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        question, answers = tasks[0].prompt, [task.response for task in tasks]
        table = {(text, text): Comparison() for text in answers}
        for first, second in combinations(dict.fromkeys(answers), 2):
            table[first, second] = self._compared(question, first, second)
            table[second, first] = table[first, second].turned()
        rivals = [answers[:place] + answers[place + 1 :] for place in range(len(answers))]
        return [_verdict([table[own, rival] for rival in others]) for own, others in zip(answers, rivals, strict=True)]

    def _compared(self, question: str, first: str, second: str) -> Comparison:
        try:
            forth = _points(self._judge, question, first, second)
            back = 1 - _points(self._judge, question, second, first)
        except JudgeFailed as error:
            return Comparison(failure=str(error))
        return Comparison(forth if forth == back else _TIE, forth == back)


def _points(judge: Judge, question: str, first: str, second: str) -> float:
    """What the judge's answer is worth to the first. Raises JudgeFailed."""
    try:
        answer = judge(question, first, second)
    except MemoryError:  # the worker's, and told by its caller
        raise
    except Exception as error:  # somebody else's code: its failure costs the two answers their verdicts, not the whole group
        raise JudgeFailed(f"the judge failed: {type(error).__name__}: {error}"[:500]) from error
    if not isinstance(answer, str) or answer not in POINTS:
        raise JudgeFailed(f"the judge answered {repr(answer)[:100]}, not 'A', 'B' or 'tie'")
    return POINTS[answer]


def _verdict(comparisons: Sequence[Comparison]) -> Verdict:
    if not comparisons:
        return invalid("there is no other answer to compare with")
    if failure := next((each.failure for each in comparisons if each.failure), ""):
        return invalid(failure)
    count, points = len(comparisons), [each.points for each in comparisons]
    return scored(
        sum(points) / count,
        reason=f"won {points.count(1.0)}, tied {points.count(_TIE)}, lost {points.count(0.0)}",
        parts={"consistent": sum(each.consistent for each in comparisons) / count},
    )


def _imported(path: str) -> Any:
    """The judge's function or class. Raises ValueError for a path that leads to none."""
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"no judge at {path}: {error}") from error
    if not callable(found):
        raise ValueError(f"{path} is neither a function nor a class")
    return found
