"""The tasks: each makes an Example of a Pair, or None where the pair cannot carry it."""

import random
import re
from collections.abc import Callable

from tower_rl.data.corpus.instructions import wordings
from tower_rl.data.corpus.instructions.flaws import LOCATED, MAKERS, Flaw, find_flaws, with_flaws
from tower_rl.data.corpus.instructions.pair import Example, Pair
from verifiers.translation import languages
from verifiers.translation.register import register_of

Task = Callable[[Pair, random.Random], Example | None]

CLEAN_SHARE = 0.25
"""Share of error_spans whose translation has no error."""
NO_ERRORS = "No errors"
CATEGORIES = "accuracy/omission, accuracy/addition, accuracy/mistranslation, accuracy/untranslated, number, markup"

_MOST_FLAWS = 2
_WITHOUT_ADDRESS = frozenset(["ja", "ko"])
"""Their register is politeness, which verb endings show also where nobody is addressed."""
_NO_ADDRESS = {
    "fr": r"\bje (?:peux|veux|dois)\b|\b(?:le|du|au|de|un|ce|son) ton\b",
    "ro": r"\btrebuie să\b",
    "ru": r"\b(?:веб-)?(?:сайте|байте|лимите|визите|кредите|транзите)\b",
}
"""What the register's rules take for an address, though nobody is addressed by it."""


def translate(pair: Pair, choice: random.Random) -> Example:
    """Source to translation, in one of many wordings, a few of them in the target language."""
    names = pair.names
    templates = wordings.ENGLISH + wordings.NATIVE.get(names["to_lang"], ())
    return Example("translate", choice.choice(templates).format(source=pair.source, **names), pair.translation)


def post_edit(pair: Pair, choice: random.Random) -> Example | None:
    """Source and a translation with SYNTHETIC errors (see flaws) to the good translation."""
    flaws = find_flaws(pair, MAKERS, _MOST_FLAWS, choice)
    flawed = with_flaws(pair.translation, flaws)
    if not _visible_change(flawed, pair.translation):
        return None
    user = choice.choice(wordings.POST_EDIT).format(source=pair.source, flawed=flawed, **pair.names)
    return Example("post_edit", user, pair.translation)


def error_spans(pair: Pair, choice: random.Random) -> Example | None:
    """Source and translation to the list of SYNTHETIC errors in it (see flaws), or to "No errors" for CLEAN_SHARE of the rows.

    A span is quoted from the translation, where it stands once, or, where something is missing, from the source.
    """
    flaws = find_flaws(pair, LOCATED, _MOST_FLAWS, choice)  # also for the clean ones: they are the same kind of texts
    shown = with_flaws(pair.translation, flaws)
    if not _visible_change(shown, pair.translation) or not all(_found_once(flaw, pair.source, shown) for flaw in flaws):
        return None
    if choice.random() < CLEAN_SHARE:
        shown, answer = pair.translation, NO_ERRORS
    else:
        answer = "\n".join(f'"{flaw.span}": {flaw.category}, {flaw.severity}' for flaw in flaws)
    ask = choice.choice(wordings.ERROR_SPANS) + wordings.ANSWER_SPANS
    return Example("error_spans", ask.format(source=pair.source, shown=shown, categories=CATEGORIES, **pair.names), answer)


def choose_better(pair: Pair, choice: random.Random) -> Example | None:
    """Source, the translation and the same with SYNTHETIC errors (see flaws) in either order; the answer is A or B."""
    flawed = with_flaws(pair.translation, find_flaws(pair, MAKERS, _MOST_FLAWS, choice))
    if not _visible_change(flawed, pair.translation):
        return None
    answer = choice.choice("AB")
    first, second = (pair.translation, flawed) if answer == "A" else (flawed, pair.translation)
    user = choice.choice(wordings.CHOOSE_BETTER).format(source=pair.source, first=first, second=second, **pair.names)
    return Example("choose_better", user, answer)


def terminology(pair: Pair, choice: random.Random) -> Example | None:
    """Source and the terms of a glossary that it has, to the translation that uses them."""
    if not pair.terms:
        return None
    form = choice.choice(("{} = {}", "- {} → {}", '"{}": "{}"'))
    glossary = "\n".join(form.format(term.source, term.translation) for term in pair.terms)
    user = choice.choice(wordings.TERMINOLOGY).format(source=pair.source, glossary=glossary, **pair.names)
    return Example("terminology", user, pair.translation)


def formality(pair: Pair, choice: random.Random) -> Example | None:
    """Source and the register of the translation, where its pronouns and verb forms show one, to the translation."""
    register = _register(pair.translation, pair.target_lang)
    if register is None:
        return None
    ask = choice.choice(wordings.REGISTERS[register])
    user = choice.choice(wordings.FORMALITY).format(source=pair.source, register=ask, **pair.names)
    return Example("formality", user, pair.translation)


TASKS: dict[str, Task] = {
    "translate": translate,
    "post_edit": post_edit,
    "error_spans": error_spans,
    "choose_better": choose_better,
    "terminology": terminology,
    "formality": formality,
}
"""By the name in the configuration."""
WITH_TERMS = frozenset(TASKS) - {"translate", "formality"}
"""Those that look at the pair's terms."""


def _visible_change(flawed: str, translation: str) -> bool:
    """Whether something is left, and it is another text for those who do not see spaces."""
    return bool(flawed.strip()) and flawed.split() != translation.split()


def _found_once(flaw: Flaw, source: str, shown: str) -> bool:
    """Whether the span of a flaw is one line that stands once in the text that it is quoted from."""
    return flaw.span is not None and "\n" not in flaw.span and (source if flaw.in_source else shown).count(flaw.span) == 1


def _register(text: str, code: str) -> str | None:
    base = languages.base(code)
    if base in _WITHOUT_ADDRESS:
        return None
    return register_of(re.sub(_NO_ADDRESS[base], " ", text, flags=re.IGNORECASE) if base in _NO_ADDRESS else text, code)
