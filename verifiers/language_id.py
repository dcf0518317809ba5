"""`language`: is a response in the wanted language and variant? Sentence by sentence, with "unknown" as an answer of its own.

meta = {"target_lang": "pt_BR"}, or the option `language`.
"""

from collections.abc import Iterator, Sequence
from typing import ClassVar

from pydantic import BaseModel, ConfigDict, field_validator

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
PASSED_FROM = 0.8
"""Score that passes: a quotation or a name may be in another language."""


class LanguageOptions(BaseModel):
    """Options of `language`."""

    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")

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
        return judge(visible(prose(task.response)), code)


def judge(text: str, code: str) -> Verdict:
    """The verdict on a visible text. Without letters it scores 0; a variant that nothing tells counts as right, and is named."""
    weighed = [(sum(script_weights(piece).values()), is_in(piece, code)) for piece in pieces(text)]
    total = sum(weight for weight, _ in weighed)
    if not total:
        return scored(0.0, reason="there is no text in the response", flags=("empty",))
    language = sum(weight * (UNKNOWN if found is None else found) for weight, found in weighed) / total
    parts, reasons, flags = {"language": language}, [], []
    if unknown := sum(weight for weight, found in weighed if found is None):
        reasons.append(f"{unknown / total:.0%} of the letters could be several languages")
    if all(found is None for _, found in weighed):
        flags.append("unknown_language")
    if wrong := sum(weight for weight, found in weighed if found is False):
        reasons.append(f"{wrong / total:.0%} of the letters are not {languages.name(code)}")
    if variant := variants.variant(code):
        share = variants.share(text, variant)
        if share is None:
            reasons.append(f"nothing tells whether it is {variant}")
        else:
            parts["variant"] = share
            reasons += [f"words or characters of another variant than {variant}"] if share < 1 else []
    score = min(language * parts.get("variant", 1.0), 1.0)  # rounding
    return scored(score, passed=score >= PASSED_FROM, reason="; ".join(reasons), parts=parts, flags=tuple(flags))


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


def pieces(text: str) -> Iterator[str]:
    """Sentences; those with too few letters to tell a language join the next, at the end the whole rest of it."""
    piece = ""
    for line in text.splitlines():
        for sentence in sentences(line):
            piece = f"{piece} {sentence}"
            if sum(script_weights(piece).values()) >= ENOUGH:
                yield piece
                piece = ""
    if piece:
        yield piece
