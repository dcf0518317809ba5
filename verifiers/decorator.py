"""A plain function as a verifier: `from verifiers.decorator import verifier`.

@verifier
def ends_politely(response, reference, *, closing):
    "Ends with the closing that the task's meta names."
    return response.rstrip().endswith(closing)
"""

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from verifiers.options import VerifierOptions
from verifiers.types import Task, Verdict, Verifier, scored

Judge = Callable[..., float | bool | Verdict]


class _OfFunction:
    """Base of the classes that `verifier` makes."""

    Options: ClassVar[type[BaseModel]] = VerifierOptions
    timeout_is_failure: ClassVar[bool] = False
    function: ClassVar[Judge]
    fields: ClassVar[frozenset[str] | None]
    """Names of the meta fields that the function takes; None for all."""

    def __init__(self, options: VerifierOptions) -> None: ...

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._judge(task) for task in tasks]

    def _judge(self, task: Task) -> Verdict:
        meta = {key: value for key, value in task.meta.items() if self.fields is None or key in self.fields}
        answer = type(self).function(task.response, task.reference, **meta)
        if isinstance(answer, Verdict):
            return answer
        if not isinstance(answer, bool | int | float):
            raise TypeError(f"a verifier function answers a bool, a number of 0..1 or a Verdict, not {answer!r}")
        return scored(float(answer))


def verifier(function: Judge) -> type[Verifier]:
    """A verifier class from `f(response, reference, **meta) -> float | bool | Verdict`, with the function's name and docstring.

    The function gets the fields of the task's meta that it names, or all if it takes `**meta`. True is 1, False is 0. Where it
    raises, lacks a field, or answers anything but a number of 0..1 or a Verdict, the verdict is invalid: no score is made up.

    Raises TypeError for a function that does not take a response and a reference.
    """
    parameters = list(inspect.signature(function).parameters.values())
    if len(parameters) < 2 or any(p.kind not in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD) for p in parameters[:2]):
        raise TypeError(f"{function.__name__} must take a response and a reference first")
    takes_all = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
    namespace: Mapping[str, Any] = {
        "__doc__": function.__doc__,
        "__module__": function.__module__,
        "__qualname__": function.__qualname__,
        "function": staticmethod(function),
        "fields": None if takes_all else frozenset(parameter.name for parameter in parameters[2:]),
    }
    return type(function.__name__, (_OfFunction,), dict(namespace))
