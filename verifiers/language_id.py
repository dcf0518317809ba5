"""`language`: is a response in the wanted language and variant? Sentence by sentence, with "unknown" as an answer of its own.

meta = {"target_lang": "pt_BR"}, or the option `language`.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import BaseModel, field_validator

from verifiers.options import VerifierOptions
from verifiers.text import sentences, visible
from verifiers.translation import languages, variants
from verifiers.translation.language import classifier, label, script_weights
from verifiers.translation.markup import prose
from verifiers.types import Task, Verdict, invalid, scored

ENOUGH = 10.0
"""Letters from which a language can be told (a Chinese, Japanese or Korean one counts 2.5), unless the script alone tells it."""
RIGHT, WRONG = 0.5, 0.1
"""A piece is in the language from this probability, in another below that one, and unknown between them."""
UNKNOWN = 0.5
"""What an unknown piece counts: less than the right language, so that short answers do not pay; more than a wrong one."""
LEAST_RIGHT, MOST_WRONG = 0.5, 0.2
"""Shares of the letters surely in the language, and surely not in it (a quotation, a name), with which a response passes."""

LONGEST = 200_000
"""Characters of a response above which it is not looked at."""


class LanguageOptions(VerifierOptions):
    """Options of `language`."""

    language: str | None = None
    """Wanted language for tasks whose meta has no `target_lang`."""

    @field_validator("language")
    @classmethod
    def _known(cls, code: str | None) -> str | None:
        if code is not None and not languages.is_known(code):
            raise ValueError(f"unknown language {code!r}; known: {', '.join(sorted(languages.NAMES))}")
        return code


class Language:
    """Share of the letters in the target language's sentences (unknown ones count half), times the share of the right variant."""

    Options: ClassVar[type[BaseModel]] = LanguageOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: LanguageOptions) -> None:
        self._language = options.language

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._judge(task) for task in tasks]

    def _judge(self, task: Task) -> Verdict:
        code = task.meta.get("target_lang", self._language)
        if not isinstance(code, str) or not languages.is_known(code):
            return invalid(f"no known target language: {code!r}"[:200])
        if len(task.response) > LONGEST:
            return scored(0.0, reason=f"{len(task.response)} characters: far too long", flags=("far_too_long",))
        return judge(visible(prose(task.response)), code)


def judge(text: str, code: str) -> Verdict:
    """The verdict on a visible text. Without letters it scores 0; a variant that nothing tells counts as right, and is named."""
    weights: dict[bool | None, float] = {True: 0.0, False: 0.0, None: 0.0}
    for piece in pieces(text):
        weights[is_in(piece, code)] += letter_weight(piece)
    total = sum(weights.values())
    if not total:
        return scored(0.0, reason="there is no text in the response", flags=("empty",))
    right, wrong, unknown = (weight / total for weight in weights.values())
    reasons = [f"{wrong:.0%} of the letters are not {languages.name(code)}"] if wrong else []
    reasons += [f"{unknown:.0%} of the letters may be several languages"] if unknown else []
    variant = variants.variant(code)
    found = variants.share(text, variant) if variant else 1.0
    if found is None:
        reasons.append(f"nothing tells whether it is {variant}")
    elif found < 1:
        reasons.append(f"words or characters of another variant than {variant}")
    share = 1.0 if found is None else found
    language = min(right + UNKNOWN * unknown, 1.0)  # rounding
    return scored(
        language * share,
        passed=right >= LEAST_RIGHT and wrong <= MOST_WRONG and share >= 1 - MOST_WRONG,
        reason="; ".join(reasons),
        parts={"language": language} | ({"variant": found} if variant and found is not None else {}),
        flags=("unknown_language",) if unknown == 1 else (),
    )


def is_in(text: str, code: str) -> bool | None:
    """Whether a text is in the language (variants of it do not differ here); None when that is unknown."""
    chances = probabilities(text)
    if chances is None:
        return None
    wanted = {"no", "nn"} if languages.canonical(code) == "no" else {label(code)}
    chance = sum(chances.get(each, 0.0) for each in wanted)
    return True if chance >= RIGHT else False if chance < WRONG else None


def probabilities(text: str) -> dict[str, float] | None:
    """Probability of each language, by the classifier's label, among those of the commonest script; None for too few letters."""
    weights = script_weights(text)
    if not weights:
        return None
    script = max(weights, key=weights.__getitem__)
    labels = frozenset(label(code) for code in languages.NAMES if script in languages.scripts(code))
    if len(labels) <= 1:
        return dict.fromkeys(labels, 1.0)
    if sum(weights.values()) < ENOUGH:
        return None
    return {str(each): float(chance) for each, chance in classifier(labels).rank(text)}


def letter_weight(text: str) -> float:
    """Letters, those of dense scripts with their weight."""
    return sum(script_weights(text).values())


def pieces(text: str) -> Iterator[str]:
    """Sentences; one with too few letters to tell a language is joined with the next."""
    joined: list[str] = []
    weight = 0.0
    for line in text.splitlines():
        for sentence in sentences(line):
            joined.append(sentence)
            weight += letter_weight(sentence)
            if weight >= ENOUGH:
                yield " ".join(joined)
                joined, weight = [], 0.0
    if joined:
        yield " ".join(joined)
