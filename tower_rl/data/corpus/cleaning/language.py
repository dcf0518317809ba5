"""Is a text in the language that it names? Only what is surely not is dropped."""

from collections import Counter
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from tower_rl.data.corpus.cleaning.table import Loss, Record, drop_by
from verifiers.translation import languages
from verifiers.translation.language import classifier, label, script_weights
from verifiers.translation.markup import prose

ENOUGH_FOR_SCRIPT = 8.0
"""Letters from which a script counts: shorter texts are often a foreign name (a dense script's letters count 2.5)."""
ENOUGH = 20.0
"""Letters from which a language counts: among software strings, those that the classifier is sure and wrong about are shorter."""
LONGEST = 5_000
"""Characters that are looked at."""


@dataclass(frozen=True)
class Language:
    """Identification by script, and by the classifier among the languages of that script."""

    confidence: float
    """Share of letters in other scripts, or probability of the likeliest other language, from which a text is dropped."""

    def __call__(self, table: pa.Table) -> pa.Table:
        """Drops `language: other script` and `language: other language`; both sides of a pair are looked at.

        A chat's messages are looked at together. Texts that are short, or whose language is not known, are kept.
        """
        return drop_by(table, self._judge)

    def _judge(self, record: Record) -> Loss | None:
        joined = record.kind == "chat"
        texts = ("\n".join(record.texts),) if joined else record.texts
        codes = (record.language,) if joined else record.languages
        for text, code in zip(texts, codes, strict=True):
            if languages.is_known(code) and (loss := self._judge_text(text[:LONGEST], code)):
                return loss
        return None

    def _judge_text(self, text: str, code: str) -> Loss | None:
        if set("<{%/@&") & set(text):
            text = prose(text)
        weights = _script_weights(text)
        own = sum(weight for script, weight in weights.items() if script in languages.scripts(code))
        total = sum(weights.values())
        certain = max(self.confidence, 0.5)
        if total < ENOUGH_FOR_SCRIPT:
            return None
        if total - own >= certain * total:
            script = max(weights, key=lambda each: weights[each] * (each not in languages.scripts(code)))
            return "language: other script", f"{1 - own / total:.0%} other letters, most of them {script}, not {code}"
        rivals = _candidates(code)
        if own < ENOUGH or len(rivals) == 1:
            return None
        # Foreign names do not belong to the sentence: to the classifier, Latin ones among Cyrillic words are Serbian.
        words = text if own == total else " ".join(word for word in text.split() if _is_in_scripts(word, languages.scripts(code)))
        likeliest, chance = next((found, chance) for found, chance in classifier(rivals).rank(words) if found not in _own(code))
        return ("language: other language", f"{likeliest} by {chance:.2f}, not {code}") if chance >= certain else None


def _script_weights(text: str) -> dict[str, float]:
    """Letters by script, those of dense scripts with their weight; of letters that occur often, the script is looked up once."""
    weights: dict[str, float] = {}
    for letter, count in Counter(text).items():
        if letter.isalpha():
            script, weight = _letter(letter)
            weights[script] = weights.get(script, 0.0) + count * weight
    return weights


@cache
def _letter(letter: str) -> tuple[str, float]:
    return next(iter(script_weights(letter).items()))


def _is_in_scripts(word: str, scripts: tuple[str, ...]) -> bool:
    return any(letter.isalpha() and _letter(letter)[0] in scripts for letter in word)


@cache
def _candidates(code: str) -> frozenset[str]:
    """What the classifier calls the languages that are written in one of the language's scripts."""
    scripts = set(languages.scripts(code))
    return frozenset(label(other) for other in languages.NAMES if scripts & set(languages.scripts(other))) | _own(code)


@cache
def _own(code: str) -> frozenset[str]:
    """What the classifier may call the language: the two Norwegians are too close to tell from short texts."""
    return frozenset({"no", "nn"}) if languages.base(code) in ("no", "nb", "nn") else frozenset({label(code)})
