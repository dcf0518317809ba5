"""`gsm8k`: is the last number of a response the reference? As Tülu 3 (open-instruct) scores GSM8K, to compare with it."""

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from verifiers.options import VerifierOptions
from verifiers.types import Task, Verdict, invalid, scored

_COMMA = re.compile(r"(\d),(\d)")
_NUMBER = re.compile(r"[-+]?\d*\.\d+|\d+")


class Gsm8k:
    """The last number of the response and the reference are the same string.

    Commas between digits are removed from the response, not from the reference. A number is digits, or an optional sign and a
    decimal fraction: an integer has no sign (`-5` ends with `5`), and `5.0`, `05` and `٥` are not `5`. Without a number: wrong.
    """

    Options: ClassVar[type[BaseModel]] = VerifierOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: VerifierOptions) -> None:
        pass

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [_judge(task) for task in tasks]


def _judge(task: Task) -> Verdict:
    if isinstance(task.reference, bool) or not isinstance(task.reference, str | int | float):
        return invalid(f"the reference is text or a number, not {type(task.reference).__name__}")
    numbers = _NUMBER.findall(_COMMA.sub(r"\1\2", task.response))
    if not numbers:
        return scored(0.0, reason="no number in the response")
    right = numbers[-1] == str(task.reference)
    return scored(float(right), reason="" if right else f"the last number is {numbers[-1][:50]}")
