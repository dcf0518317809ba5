"""A verifier whose work is one C call that no signal handler can interrupt."""

from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict

from verifiers import Task, Verdict, scored


class NoOptions(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Power:
    """Computes n**n**n**n."""

    Options: ClassVar[type[BaseModel]] = NoOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: NoOptions) -> None: ...

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        for task in tasks:
            number = int(task.response)
            _ = number**number**number**number
        return [scored(1.0) for _ in tasks]
