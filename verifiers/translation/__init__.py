"""`translation_rules`: what a localization reviewer checks, as a reward with a gradient from gibberish to a clean translation.

meta = {"source": text, "source_lang": "en", "target_lang": "pt_BR"}; the reference, a human translation, is optional.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, field_validator

from verifiers.reference import rejected
from verifiers.translation import languages
from verifiers.translation.rules import RULES, instruction
from verifiers.translation.segment import Finding, Segment
from verifiers.types import Task, Verdict, invalid, scored

__all__ = ["RULES", "Segment", "TranslationOptions", "TranslationRules", "instruction"]


class TranslationOptions(BaseModel):
    """Options of `translation_rules`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

    rules: tuple[str, ...] = tuple(RULES)
    """The rules to apply."""
    weights: dict[str, float] = {}
    """Weights that differ from the rules' own."""

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


class TranslationRules:
    """Placeholders, tags, numbers, length, language, nothing but the translation; and chrF where there is a reference."""

    Options: ClassVar[type[BaseModel]] = TranslationOptions
    timeout_is_failure: ClassVar[bool] = False

    def __init__(self, options: TranslationOptions) -> None:
        self._weights = {name: options.weights.get(name, RULES[name].weight) for name in RULES if name in options.rules}

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._judge(task) for task in tasks]

    def _judge(self, task: Task) -> Verdict:
        if complaint := _malformed(task):
            return invalid(complaint)
        source, response = str(task.meta["source"]), task.response.strip()
        if verdict := rejected(response, source, task.reference or ""):
            return verdict
        languages_of = (task.meta["source_lang"], task.meta["target_lang"])
        return judge(Segment(source, response, *languages_of, task.reference), self._weights)


def judge(segment: Segment, weights: Mapping[str, float]) -> Verdict:
    """Weighted mean of the rules that apply, times the gates; passed when each that applies is met."""
    checked = {name: RULES[name].check(segment) for name in weights}
    found = {name: finding for name, finding in checked.items() if finding is not None}
    if not found:
        return invalid("none of the rules applies to this source")
    score = sum(weights[name] * finding.score for name, finding in found.items()) / sum(weights[name] for name in found)
    for name, finding in found.items():
        score *= RULES[name].gate_floor + (1 - RULES[name].gate_floor) * finding.score
    return scored(
        min(score, 1.0),  # rounding
        passed=all(_met(name, finding) for name, finding in found.items()),
        reason="; ".join(f"{name}: {finding.reason}" for name, finding in found.items() if finding.reason),
        parts={name: finding.score for name, finding in found.items()},
        flags=tuple(finding.flag for finding in found.values() if finding.flag),
    )


def _met(name: str, finding: Finding) -> bool:
    return finding.score >= RULES[name].met_from


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
