"""What a task's meta says about a programming problem: one model a kind, told apart by `kind`."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

_IDENTIFIER = r"^[A-Za-z_][A-Za-z_0-9]*$"


class BrokenProblem(ValueError):
    """The task, not the response, is at fault: no problem, or tests that do not run."""


Name = Annotated[str, Field(pattern=_IDENTIFIER)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class StdinTest(_Model):
    """What a program gets and what it has to print."""

    input: str
    output: str


class StdinProblem(_Model):
    """A whole program; white space at line ends and empty lines at the end do not count."""

    kind: Literal["stdin"]
    tests: list[StdinTest] = Field(min_length=1)
    atol: float = Field(0.0, ge=0)
    """With a tolerance, words that are numbers are compared as numbers."""


class CallTest(_Model):
    """Arguments and the value to return; JSON."""

    args: list[Any]
    expected: Any
    atol: float = Field(0.0, ge=0)
    rtol: float = Field(0.0, ge=0)


class CallsProblem(_Model):
    """A function of JSON values: 1, 1.0 and true are different answers, and a tuple is no list."""

    kind: Literal["calls"]
    function: Name
    tests: list[CallTest] = Field(min_length=1)
    prompt: str = ""
    """Code that ends with the function's signature, if the response may complete it."""


class AssertsProblem(_Model):
    """Python tests as in HumanEval (a function `check(candidate)`) or MBPP (a list of asserts), with Python's own `==`."""

    kind: Literal["asserts"]
    function: Name
    tests: str | list[str] = Field(min_length=1)
    setup: str = ""
    """Code that the tests need; the candidate does not see it."""
    prompt: str = ""
    """Code that ends with the function's signature; what it defines is known to the tests too."""


class EvalplusProblem(_Model):
    """A row of HumanEval+ or MBPP+: the canonical solution says what is right, evalplus's oracles how near is near enough."""

    kind: Literal["evalplus"]
    dataset: Literal["humaneval", "mbpp"]
    task_id: str
    entry_point: Name
    prompt: str
    canonical_solution: str
    base_input: list[list[Any]] = Field(min_length=1)
    plus_input: list[list[Any]] = []
    atol: float = Field(0.0, ge=0)


Problem = StdinProblem | CallsProblem | AssertsProblem | EvalplusProblem
_ADAPTER: TypeAdapter[Problem] = TypeAdapter(Annotated[Problem, Field(discriminator="kind")])


def problem(meta: Any) -> Problem:
    """The problem of a task's meta, whose other keys are ignored. Raises BrokenProblem."""
    known = _FIELDS.get(str(meta.get("kind")), {"kind"})
    try:
        return _ADAPTER.validate_python({key: value for key, value in meta.items() if key in known})
    except ValidationError as error:
        complaints = (f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        raise BrokenProblem(f"meta is no programming problem: {'; '.join(complaints)}"[:300]) from None


_FIELDS = {
    model.model_fields["kind"].annotation.__args__[0]: set(model.model_fields)  # type: ignore[union-attr]
    for model in (StdinProblem, CallsProblem, AssertsProblem, EvalplusProblem)
}
