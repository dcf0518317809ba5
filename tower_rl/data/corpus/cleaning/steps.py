"""The steps in the order of the configuration's `Cleaning`; those that compare rows with each other stand between two lists."""

from pathlib import Path

from tower_rl.config.corpora import Cleaning
from tower_rl.data.corpus.cleaning.decontaminate import Decontaminate
from tower_rl.data.corpus.cleaning.language import Language
from tower_rl.data.corpus.cleaning.length import Length, untranslated
from tower_rl.data.corpus.cleaning.normalise import normalise
from tower_rl.data.corpus.cleaning.quality import Judged
from tower_rl.data.corpus.cleaning.scrub import scrub
from tower_rl.data.corpus.cleaning.table import Step


def before_duplicates(cleaning: Cleaning) -> list[Step]:
    """Normalisation, length, copies, language, scrubbing."""
    steps: list[Step] = [
        normalise,
        Length(cleaning.min_characters, cleaning.max_characters, cleaning.max_length_ratio),
        untranslated,
    ]
    if cleaning.language_confidence:
        steps.append(Language(cleaning.language_confidence))
    return [*steps, scrub] if cleaning.scrub else steps


def after_duplicates(cleaning: Cleaning, hashes: Path) -> list[Step]:
    """Decontamination against the hashes in this file, and quality."""
    steps: list[Step] = [Decontaminate(hashes)] if cleaning.decontaminate else []
    return [*steps, Judged(cleaning.quality)] if cleaning.quality else steps
