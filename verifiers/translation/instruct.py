"""A pair of texts as a verifiable instruction: a few rules that its human translation meets, put into words."""

import random
import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from verifiers.text import visible
from verifiers.translation import languages, terms
from verifiers.translation.register import register_of
from verifiers.translation.rules import RULES, instruction
from verifiers.translation.segment import Facts, Segment

MOST_RULES = 4
_MOST_TERMS = 3
_HEADROOM = 1.1
"""Longest length that is asked for, over the human translation's."""
_NAME = re.compile(r"(?<=[\w,;:] )[A-Z]\w+(?: [A-Z]\w+)*|\b[A-Z]\w*[A-Z\d]\w*")
_ALWAYS = ("translation_only",)


def instruct(
    source: str, translation: str, source_lang: str, target_lang: str, seed: int, glossary: Mapping[str, str] | None = None
) -> tuple[str, dict[str, Any]] | None:
    """A prompt with one to four rules and the meta to judge its answers by, or None when the translation does not follow them.

    The same for the same seed. `glossary` may name terms and translations that the pair need not have.
    """
    facts = _facts(source, translation, source_lang, target_lang, glossary or {})
    asking = Segment(source, "", source_lang, target_lang, facts=facts)
    possible = [name for name, rule in RULES.items() if name not in _ALWAYS and rule.instruction(asking)]
    draw = random.Random(seed)
    chosen = draw.sample(possible, min(len(possible), draw.randint(1, MOST_RULES)))
    asked = {name: value for name, value in asdict(facts).items() if name in chosen}
    answer = Segment(source, translation, source_lang, target_lang, facts=Facts(**asked))
    for name in (*chosen, *_ALWAYS):
        finding = RULES[name].check(answer)
        if finding is not None and finding.score < RULES[name].met_from:
            return None
    prompt = f"{instruction(answer, (*chosen, *_ALWAYS))}\n\n{source}"
    return prompt, {"source": source, "source_lang": source_lang, "target_lang": target_lang, **asked}


def _facts(source: str, translation: str, source_lang: str, target_lang: str, glossary: Mapping[str, str]) -> Facts:
    """What the translation could have been asked for."""
    names = [name for name in dict.fromkeys(_NAME.findall(source)) if source.count(name) <= translation.count(name)]
    usable = {
        term: wanted
        for term, wanted in glossary.items()
        if terms.has_term(source, term, source_lang) and terms.has_term(translation, wanted, target_lang)
    }
    return Facts(
        glossary=dict(list(usable.items())[:_MOST_TERMS]),
        keep=names[:_MOST_TERMS] if languages.base(source_lang) != languages.base(target_lang) else [],
        max_chars=5 * round(_HEADROOM * len(visible(translation)) / 5 + 0.5),
        register=register_of(translation, target_lang),
    )
