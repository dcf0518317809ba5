"""`translation_rules`: what a localization reviewer checks, as a reward with a gradient from gibberish to a clean translation.

meta = {"source": text, "source_lang": "en", "target_lang": "pt_BR"}, and what Facts names: a glossary, terms to keep, a longest
length, a register. The reference, a human translation, is optional.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import Annotated, Any, ClassVar

from pydantic import BaseModel, Field, ValidationError, field_validator

from verifiers.options import VerifierOptions
from verifiers.reference import rejected
from verifiers.translation import languages
from verifiers.translation.rules import FLAGS, RULES, instruction
from verifiers.translation.segment import Facts, Segment
from verifiers.types import Task, Verdict, invalid, scored

__all__ = ["FLAGS", "RULES", "Facts", "Segment", "TranslationOptions", "TranslationRules", "instruction"]


class TranslationOptions(VerifierOptions):
    """Options of `translation_rules`."""

    rules: tuple[str, ...] = tuple(RULES)
    """The rules to apply."""
    weights: dict[str, float] = Field({})
    """Weights that differ from the rules' own."""
    gates: dict[str, Annotated[float, Field(ge=0, lt=1)]] = Field({})
    """By flag: a response that carries it does not pass, and its score is multiplied by this."""

    @field_validator("rules", "weights")
    @classmethod
    def _known(cls, names: Any) -> Any:
        if unknown := sorted(set(names) - set(RULES)):
            raise ValueError(f"no rule {', '.join(unknown)}; known: {', '.join(RULES)}")
        if isinstance(names, dict) and any(weight <= 0 for weight in names.values()):
            raise ValueError("a weight is positive; leave a rule out of `rules` instead")
        if not names and not isinstance(names, dict):
            raise ValueError("at least one rule")
        return names

    @field_validator("gates")
    @classmethod
    def _flags(cls, gates: dict[str, float]) -> dict[str, float]:
        if unknown := sorted(set(gates) - set(FLAGS)):
            raise ValueError(f"no flag {', '.join(unknown)}; known: {', '.join(FLAGS)}")
        return gates


class TranslationRules:
    """The rules that apply to a segment, hygiene, and chrF where there is a reference."""

    Options: ClassVar[type[BaseModel]] = TranslationOptions
    timeout_is_failure: ClassVar[bool] = False

    def __init__(self, options: TranslationOptions) -> None:
        self._weights = {name: options.weights.get(name, RULES[name].weight) for name in RULES if name in options.rules}
        self._gates = options.gates

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [_gated(self._judge(task), self._gates) for task in tasks]

    def _judge(self, task: Task) -> Verdict:
        if complaint := _malformed(task):
            return invalid(complaint)
        try:
            facts = Facts(**{each.name: task.meta[each.name] for each in fields(Facts) if each.name in task.meta})
        except ValidationError as error:
            first = error.errors()[0]
            return invalid(f"meta {'.'.join(map(str, first['loc']))!r}: {first['msg']}")
        source, response = str(task.meta["source"]), task.response.strip()
        if verdict := rejected(response, source, task.reference or ""):
            return verdict
        languages_of = (task.meta["source_lang"], task.meta["target_lang"])
        return judge(Segment(source, response, *languages_of, task.reference, facts), self._weights)


def judge(segment: Segment, weights: Mapping[str, float]) -> Verdict:
    """Weighted mean of the rules that apply, times the gates; passed when each that applies is met."""
    checked = {name: RULES[name].check(segment) for name in weights}
    found = {name: finding for name, finding in checked.items() if finding is not None}
    if not found:
        return invalid("none of the rules applies to this source")
    total = sum(weights[name] for name in found)
    score = sum(weights[name] * finding.score for name, finding in found.items()) / total if total else 1.0
    for name, finding in found.items():
        score *= RULES[name].gate_floor + (1 - RULES[name].gate_floor) * finding.score
    return scored(
        min(score, 1.0),  # rounding
        passed=all(finding.score >= RULES[name].met_from for name, finding in found.items()),
        reason="; ".join(f"{name}: {finding.reason}" for name, finding in found.items() if finding.reason),
        parts={name: finding.score for name, finding in found.items()},
        flags=tuple(finding.flag for finding in found.values() if finding.flag),
    )


def _gated(verdict: Verdict, gates: Mapping[str, float]) -> Verdict:
    """The verdict after the gates of its flags."""
    if verdict.score is None or not set(verdict.flags) & set(gates):
        return verdict
    return replace(verdict, score=verdict.score * math.prod(gates.get(flag, 1.0) for flag in verdict.flags), passed=False)


def _malformed(task: Task) -> str | None:
    """What is missing for a judgement, or None."""
    for key in ("source", "source_lang", "target_lang"):
        if not isinstance(task.meta.get(key), str) or not task.meta[key].strip():
            return f"meta needs a text {key!r}"
    for key in ("source_lang", "target_lang"):
        if not languages.is_known(task.meta[key]):
            return f"unknown language {task.meta[key]!r}; known: {', '.join(sorted(languages.NAMES))}"
    if task.reference is not None and not isinstance(task.reference, str):
        return f"the reference is text, not {type(task.reference).__name__}"
    return None
