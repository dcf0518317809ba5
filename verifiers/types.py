"""What a verifier gets and what it answers. Nothing here knows about models, Ray or training."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

if TYPE_CHECKING:  # importing pydantic costs 0.3 s, which a caller of `import verifiers` should not pay
    from pydantic import BaseModel


class Status(StrEnum):
    """Whether a verdict says something about the response."""

    SCORED = "scored"
    """The response was judged; `score` is a number."""
    INVALID = "invalid"
    """The verifier itself failed; `score` is None and the response must not be trained on."""


@dataclass(frozen=True, slots=True)
class Task:
    """One response to judge."""

    prompt: str
    """The last user message."""
    response: str
    """The visible answer of the model, without stop tokens."""
    reference: Any = None
    """What to compare with; JSON-like."""
    meta: Mapping[str, Any] = field(default_factory=dict)
    """JSON-like facts about the task: rules, languages, ..."""
    messages: tuple[Mapping[str, str], ...] = ()
    """The whole conversation, each message with `role` and `content`."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The three-valued answer of a verifier: passed, failed, or invalid (then neither)."""

    score: float | None
    """0..1, or None exactly when the status is invalid."""
    passed: bool | None
    """Whether the response is right as a whole; None exactly when invalid."""
    status: Status
    reason: str = ""
    """One line: why the score is not 1, or why the verdict is invalid."""
    parts: Mapping[str, float] = field(default_factory=dict)
    """Named sub-scores, each 0..1."""
    flags: tuple[str, ...] = ()
    """Signs of reward hacking or odd input, e.g. `copied_source`."""
    seconds: float = 0.0
    """Time that the judgement took."""
    verifier: str = ""
    """Name of the verifier that answered."""

    def __post_init__(self) -> None:
        if (self.score is None) != (self.status is Status.INVALID) or (self.passed is None) != (self.score is None):
            raise ValueError(
                f"score and passed are None exactly for an invalid verdict: {self.status}, {self.score}, {self.passed}"
            )
        if self.score is not None and not 0.0 <= self.score <= 1.0:
            raise ValueError(f"a score is between 0 and 1, not {self.score}")
        for name, value in self.parts.items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"a part's score is between 0 and 1, not {name}={value}")


def scored(score: float, *, passed: bool | None = None, **rest: Any) -> Verdict:
    """A verdict about the response; `passed` is `score == 1` unless given."""
    return Verdict(score=float(score), passed=score >= 1.0 if passed is None else passed, status=Status.SCORED, **rest)


def invalid(reason: str, **rest: Any) -> Verdict:
    """A verdict about the verifier: it could not judge, for this reason."""
    return Verdict(score=None, passed=None, status=Status.INVALID, reason=reason, **rest)


class Verifier(Protocol):
    """What a plug-in implements. Instances live in worker processes that may be killed at any time."""

    Options: ClassVar["type[BaseModel]"]
    """The options, strict and frozen; a wrong one is an error that names the right ones."""
    timeout_is_failure: ClassVar[bool]
    """True when only the response can make the verifier slow: then running out of CPU time is a scored failure."""
    # A class with `group_aware = True` gets all responses of a prompt in one call of `verify`; without it, one at a time.

    def __init__(self, options: Any) -> None: ...

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        """One verdict a task, in order. May raise: the caller turns that into an invalid verdict."""
        ...
