"""Is a text in the target language? By its script, and by py3langid with few candidates (with all, it errs on short texts)."""

from collections import Counter
from copy import copy
from functools import cache
from typing import Any

from verifiers.text import letters
from verifiers.translation import languages

SHORT = 10
"""Letters below which the classifier's word counts little; see score()."""
WINDOW = 30
"""Letters that are judged together: a text that is half in another language scores half."""
_RIVALS = ("de", "en", "es", "fr", "it", "nl", "pt")
"""Languages that a model drifts into; a text in one of them is not in the target language."""
_LABELS = {"nb": "no", "nn": "nn"}
_TINY = 1e-9
_DENSE_SCRIPTS = frozenset({"CJK", "HIRAGANA", "KATAKANA", "HANGUL"})
_DENSE_WEIGHT = 2.5
"""Letters of other scripts that one character of these is worth, when a text mixes them (product names in Chinese)."""


def score(text: str, source_lang: str, target_lang: str) -> float | None:
    """0..1 for how much of the text is in the target language, or None when it has no letters.

    Each window counts by its letters. Whatever is not clearly another language is right: the target language needs 2/3 of the
    source language's probability; against the rivals less, the shorter the text, because a word may belong to many languages.
    """
    total = letters(text)
    if total == 0:
        return None
    windows = _windows(text)
    return sum(letters(window) * _window_score(window, source_lang, target_lang) for window in windows) / sum(
        map(letters, windows)
    )


def _window_score(text: str, source_lang: str, target_lang: str) -> float:
    source, target = label(source_lang), label(target_lang)
    script = min(1.0, 2 * _script_share(text, target_lang))
    if source == target or script < 0.1:
        return script
    count = letters(text)
    model = classifier(frozenset({source, target, *_RIVALS}))
    chances = dict(model.rank(text))
    own = chances.pop(target) * script
    against_source = (4.0 if count < SHORT else 1.5) * own / max(chances.pop(source), _TINY)
    lenience = 50.0 if count < SHORT else 20.0 if count < 20 else 5.0 if count < 40 else 2.0
    against_rivals = lenience * own / max(*chances.values(), _TINY)
    return min(1.0, script, against_source, against_rivals)


def script_weights(text: str) -> dict[str, float]:
    """Letters by script, those of dense scripts with their weight."""
    counts = Counter(map(languages.script_of, filter(str.isalpha, text)))
    return {script: count * (_DENSE_WEIGHT if script in _DENSE_SCRIPTS else 1.0) for script, count in counts.items()}


def _script_share(text: str, code: str) -> float:
    """Share of the letters that are of the language's scripts."""
    weights = script_weights(text)
    return sum(weights.get(script, 0.0) for script in languages.scripts(code)) / sum(weights.values()) if weights else 0.0


def _windows(text: str) -> list[str]:
    """Pieces of whole words with about WINDOW letters each; text without spaces is cut anywhere."""
    pieces: list[str] = []
    current, count = "", 0
    for word in text.split():
        for start in range(0, len(word), WINDOW):
            piece = word[start : start + WINDOW]
            current, count = f"{current} {piece}", count + letters(piece)
            if count >= WINDOW:
                pieces.append(current)
                current, count = "", 0
    if pieces and count < WINDOW / 2:
        pieces[-1] += current
    elif count:
        pieces.append(current)
    return pieces


def label(code: str) -> str:
    """What the classifier calls a language."""
    base = languages.base(code)
    return _LABELS.get(base, base)


@cache
def classifier(labels: frozenset[str]) -> Any:
    """The classifier for these languages alone: cutting its tables down takes longer than classifying."""
    model = copy(_whole_model())
    model.set_languages(sorted(labels))
    return model


@cache
def _whole_model() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # a second of import and loading

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
