"""`constraints`: instructions whose fulfilment a program can check. Each rule writes its instruction and checks it.

A task carries its rules as data: meta = {"rules": [{"rule": "max_words", "words": 50}, {"rule": "lowercase"}]}.
"""

import random
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

from pydantic import BaseModel

from verifiers.options import VerifierOptions
from verifiers.text import sentences, strict_json, visible, words
from verifiers.types import Task, Verdict, invalid, scored

Args = Mapping[str, Any]

KEYWORDS = (
    "bridge",
    "engine",
    "garden",
    "harvest",
    "island",
    "library",
    "market",
    "mirror",
    "river",
    "signal",
    "window",
    "winter",
)
ENDINGS = ("That is all.", "Thank you for reading.", "Is there anything else?", "The end.", "I hope this helps.")


@dataclass(frozen=True, slots=True)
class Rule:
    """One kind of constraint: draws its arguments, says them as an instruction, checks them."""

    sample: Callable[[random.Random], dict[str, Any]]
    """Arguments, drawn from the generator."""
    instruction: Callable[[Args], str]
    """One English sentence for the prompt."""
    check: Callable[[str, Args], float]
    """0..1 for the visible text (see text.visible) of a response; 1 only when fully met. Never called with an empty text."""
    args: Mapping[str, type] = field(default_factory=dict)
    """Names and types of the arguments."""


def sample_rules(generator: random.Random, count: int) -> list[dict[str, Any]]:
    """`count` different rules that do not contradict each other, as a task's meta has them."""
    chosen: list[str] = []
    for name in generator.sample(sorted(RULES), len(RULES)):
        if len(chosen) < count and not any({name, other} <= group for group in EXCLUSIVE for other in chosen):
            chosen.append(name)
    if len(chosen) < count:
        raise ValueError(f"only {len(chosen)} rules go together, not {count}")
    return [{"rule": name, **RULES[name].sample(generator)} for name in chosen]


def instruction(rule: Mapping[str, Any]) -> str:
    """The sentence for the prompt. Raises KeyError for an unknown rule."""
    return RULES[rule["rule"]].instruction(rule)


class Constraints:
    """Formal instructions (length, case, keywords, JSON, bullets): the mean over the task's rules, each with partial credit."""

    Options: ClassVar[type[BaseModel]] = VerifierOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: VerifierOptions) -> None: ...

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [judge(task) for task in tasks]


def judge(task: Task) -> Verdict:
    """Mean of the rules' checks; passed when all are fully met. An unknown rule or a wrong argument is invalid."""
    rules = task.meta.get("rules")
    if not isinstance(rules, list | tuple) or not rules:
        return invalid("meta has no rules")
    for rule in rules:
        if complaint := _malformed(rule):
            return invalid(complaint)
    text = visible(task.response).strip()
    scores = [RULES[rule["rule"]].check(text, rule) if text else 0.0 for rule in rules]
    missed = [instruction(rule) for rule, score in zip(rules, scores, strict=True) if score < 1]
    parts = {f"{index}.{rule['rule']}": score for index, (rule, score) in enumerate(zip(rules, scores, strict=True))}
    reason = f"not met: {' '.join(missed)}" if missed else ""
    return scored(sum(scores) / len(scores), passed=not missed, reason=reason, parts=parts)


def _malformed(rule: Any) -> str | None:
    if not isinstance(rule, Mapping) or rule.get("rule") not in RULES:
        return f"unknown rule {rule!r}; known: {', '.join(RULES)}"
    expected = RULES[rule["rule"]].args
    given = {key: value for key, value in rule.items() if key != "rule"}
    if set(given) != set(expected) or any(type(given[key]) is not kind for key, kind in expected.items()):
        return f"rule {rule['rule']!r} takes { ({key: kind.__name__ for key, kind in expected.items()}) }, not {given!r}"
    return None


def _cased_share(text: str, right: Callable[[str], bool]) -> float:
    """Share of the letters with case that have the right one; 0 when no letter has case."""
    cased = [character for character in text if character.isupper() or character.islower()]
    return sum(map(right, cased)) / len(cased) if cased else 0.0


def _at_most(found: int, limit: int) -> float:
    return 1.0 if found <= limit else limit / found


def _exactly(found: int, wanted: int) -> float:
    return min(found, wanted) / max(found, wanted) if found else 0.0


def _contains(text: str, args: Args) -> float:
    """Share of the wanted occurrences; whole words, any case."""
    found = re.findall(rf"(?<!\w){re.escape(visible(args['word']).casefold())}(?!\w)", text.casefold())
    return min(len(found) / max(args["times"], 1), 1.0)


def _json_object(text: str, args: Args) -> float:
    """1 for one strict JSON object; a half when it stands in a code fence."""
    fenced = re.fullmatch(r"```(?:json)?\s*\n(.*)\n\s*```", text, re.DOTALL)
    try:
        value = strict_json(fenced.group(1) if fenced else text)
    except ValueError:
        return 0.0
    return (0.5 if fenced else 1.0) if isinstance(value, dict) and value else 0.0


def _bullets(text: str) -> int:
    return len(re.findall(r"(?m)^[ \t]*[-*•][ \t]+\S", text))


def _sentences(text: str) -> int:
    """Sentences that hold a letter."""
    return sum(any(character.isalpha() for character in piece) for piece in sentences(text))


RULES: Mapping[str, Rule] = {
    "lowercase": Rule(
        lambda _: {}, lambda _: "Write in lowercase letters only.", lambda text, _: _cased_share(text, str.islower)
    ),
    "uppercase": Rule(lambda _: {}, lambda _: "Write in capital letters only.", lambda text, _: _cased_share(text, str.isupper)),
    "max_words": Rule(
        lambda generator: {"words": generator.choice((20, 40, 60, 100))},
        lambda args: f"Use at most {args['words']} words.",
        lambda text, args: _at_most(len(words(text)), args["words"]) if words(text) else 0.0,
        {"words": int},
    ),
    "min_words": Rule(
        lambda generator: {"words": generator.choice((10, 20, 30, 50))},
        lambda args: f"Use at least {args['words']} words.",
        lambda text, args: min(len(words(text)) / max(args["words"], 1), 1.0),
        {"words": int},
    ),
    "no_commas": Rule(
        lambda _: {},
        lambda _: "Do not use any commas.",
        lambda text, _: 0.5 ** len(re.findall("[,،、]", text)) if words(text) else 0.0,
    ),
    "contains": Rule(
        lambda generator: {"word": generator.choice(KEYWORDS), "times": generator.choice((1, 2, 3))},
        lambda args: f'Use the word "{args["word"]}" at least {args["times"]} time{"s" if args["times"] != 1 else ""}.',
        _contains,
        {"word": str, "times": int},
    ),
    "ends_with": Rule(
        lambda generator: {"phrase": generator.choice(ENDINGS)},
        lambda args: f'End with exactly this phrase and nothing after it: "{args["phrase"]}"',
        lambda text, args: float(text.endswith(visible(args["phrase"]).strip())),
        {"phrase": str},
    ),
    "json_object": Rule(lambda _: {}, lambda _: "Answer with one JSON object and nothing else.", _json_object),
    "n_bullets": Rule(
        lambda generator: {"bullets": generator.choice((2, 3, 4, 5))},
        lambda args: f"Write exactly {args['bullets']} bullet points, each on a line that begins with a hyphen or an asterisk.",
        lambda text, args: _exactly(_bullets(text), args["bullets"]),
        {"bullets": int},
    ),
    "n_sentences": Rule(
        lambda generator: {"sentences": generator.choice((1, 2, 3, 4))},
        lambda args: f"Write exactly {args['sentences']} sentence{'s' if args['sentences'] != 1 else ''}.",
        lambda text, args: _exactly(_sentences(text), args["sentences"]),
        {"sentences": int},
    ),
}

EXCLUSIVE = (
    {"lowercase", "uppercase", "ends_with"},
    {"uppercase", "contains"},
    {"json_object", "ends_with"},
    {"json_object", "n_bullets"},
    {"json_object", "n_sentences"},
    {"json_object", "no_commas"},
    {"json_object", "contains"},
    {"n_bullets", "n_sentences"},
    {"n_bullets", "ends_with"},
    {"max_words", "min_words"},
    {"n_sentences", "min_words"},
    {"max_words", "n_bullets"},
)
"""Rules that cannot, or hardly, be met together."""
