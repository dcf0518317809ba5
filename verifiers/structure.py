"""`format`, `json` and `length`: the outer shape of a response, whatever it says."""

import re
from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, Field, PositiveInt, field_validator, model_validator

from verifiers.options import VerifierOptions
from verifiers.text import strict_json, visible, words
from verifiers.types import Task, Verdict, invalid, scored


class FormatOptions(VerifierOptions):
    """Options of `format`."""

    think: str = Field("think", pattern=r"^\w+$")
    """Name of the tag around the reasoning."""
    answer: str = Field("answer", pattern=r"^\w+$")
    """Name of the tag around the answer."""

    @model_validator(mode="after")
    def _differ(self) -> Self:
        if self.think == self.answer:
            raise ValueError("think and answer are different tags")
        return self


class Format:
    """1 for exactly `<think>..</think><answer>..</answer>`, both with text and nothing but white space around them, else 0."""

    Options: ClassVar[type[BaseModel]] = FormatOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: FormatOptions) -> None:
        names = (options.think, options.answer)
        self._tags = [tag for name in names for tag in (f"<{name}>", f"</{name}>")]

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [_whole(self._defect(task.response)) for task in tasks]

    def _defect(self, response: str) -> str:
        for tag in self._tags:
            if (count := response.count(tag)) != 1:
                return f"{tag} occurs {count} times"
        if sorted(self._tags, key=response.index) != self._tags:
            return "the tags are not in order"
        before, thinking, between, answer, after = re.split("|".join(self._tags), response)
        if before.strip() or between.strip() or after.strip():
            return "text outside the tags"
        if not visible(thinking).strip() or not visible(answer).strip():
            return "no text inside a tag"
        return ""


class JsonOptions(VerifierOptions):
    """Options of `json`."""

    json_schema: dict[str, Any] | None = None
    """JSON Schema (2020-12) for tasks whose meta has no `schema`."""
    max_depth: PositiveInt = 32
    """Arrays and objects inside one another."""
    max_characters: PositiveInt = 100_000
    """Length of the response."""

    @field_validator("json_schema")
    @classmethod
    def _valid(cls, schema: dict[str, Any] | None) -> dict[str, Any] | None:
        if schema is not None and (complaint := _schema_complaint(schema)):
            raise ValueError(complaint)
        return schema


class Json:
    """1 when the whole response is one strict JSON value that follows the JSON Schema of the option or meta (if any), else 0."""

    Options: ClassVar[type[BaseModel]] = JsonOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: JsonOptions) -> None:
        self._options = options

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._judge(task) for task in tasks]

    def _judge(self, task: Task) -> Verdict:
        schema = task.meta.get("schema", self._options.json_schema)
        if schema is not None and (complaint := _schema_complaint(schema)):
            return invalid(complaint)
        if len(task.response) > self._options.max_characters:
            return scored(0.0, reason=f"{len(task.response)} characters; at most {self._options.max_characters}")
        try:
            value = strict_json(task.response)
        except ValueError as error:
            return scored(0.0, reason=f"not JSON: {error}"[:200])
        if (depth := _depth(value)) > self._options.max_depth:
            return scored(0.0, reason=f"{depth} levels deep; at most {self._options.max_depth}")
        return _whole("") if schema is None else _follows(value, schema)


class LengthOptions(VerifierOptions):
    """Options of `length`; without a target and a limit, each task needs a target in its meta."""

    unit: Literal["words", "characters"] = "words"
    """What is counted, as a reader sees it; characters for languages without spaces. A run of white space is one character."""
    target: PositiveInt | None = None
    """Wanted length for tasks whose meta has no `length`."""
    limit: PositiveInt | None = None
    """Length from which the score is 0."""
    buffer: int = Field(0, ge=0)
    """Length below the limit at which the score begins to fall."""

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.buffer >= (self.limit or 1):
            raise ValueError("the buffer is smaller than the limit, and 0 without one")
        return self


class Length:
    """max(0, 1 - |n - target| / target), times the overlong penalty min(1, max(0, (limit - n) / buffer)); an empty response is 0.

    The target comes from meta["length"] or the option; either factor is 1 without its number. With a buffer of 0, n < limit is 1.
    """

    Options: ClassVar[type[BaseModel]] = LengthOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: LengthOptions) -> None:
        self._options = options

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._judge(task) for task in tasks]

    def _judge(self, task: Task) -> Verdict:
        target, limit = task.meta.get("length", self._options.target), self._options.limit
        if target is not None and (type(target) is not int or target <= 0):
            return invalid(f"meta's length is a positive number, not {target!r}"[:200])
        if target is None and limit is None:
            return invalid("neither a target length nor a limit")
        text = " ".join(visible(task.response).split())
        count = len(words(text)) if self._options.unit == "words" else len(text)
        parts: dict[str, float] = {}
        if target is not None:
            parts["target"] = max(0.0, 1 - abs(count - target) / target)
        if limit is not None:
            parts["limit"] = min(1.0, max(0.0, (limit - count) / max(self._options.buffer, 1)))
        score = min(count, 1) * parts.get("target", 1.0) * parts.get("limit", 1.0)
        return scored(score, reason="" if score == 1 else f"{count} {self._options.unit}", parts=parts)


def _whole(defect: str) -> Verdict:
    return scored(0.0 if defect else 1.0, reason=defect)


def _depth(value: Any) -> int:
    """How many arrays and objects are inside one another: 0 for a number, 1 for []."""
    level, depth = [value], 0
    while level := [each for each in level if isinstance(each, dict | list)]:
        depth += 1
        level = [inner for outer in level for inner in (outer.values() if isinstance(outer, dict) else outer)]
    return depth


def _schema_complaint(schema: Any) -> str:
    """What is wrong with a JSON Schema, or ""."""
    from jsonschema import Draft202012Validator, SchemaError  # a fifth of a second of import

    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        return f"not a JSON Schema: {error.message}"[:200]
    return ""


def _follows(value: Any, schema: Any) -> Verdict:
    from jsonschema import Draft202012Validator
    from referencing.exceptions import Unresolvable
    from referencing.jsonschema import EMPTY_REGISTRY

    validator = Draft202012Validator(schema, registry=EMPTY_REGISTRY)  # its own registry would fetch a $ref from the network
    try:
        error = next(validator.iter_errors(value), None)
    except (Unresolvable, RecursionError) as trouble:
        return invalid(f"the JSON Schema cannot be applied: {type(trouble).__name__}: {trouble}"[:200])
    except OverflowError:
        return scored(0.0, reason="a number is too large")
    return _whole("" if error is None else f"{error.json_path}: {error.message}"[:200])
