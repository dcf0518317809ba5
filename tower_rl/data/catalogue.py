"""Translation tasks from the gettext catalogues that an installed package carries (English to the catalogue's language)."""

import re
import zlib
from pathlib import Path
from typing import Any

import polib

from tower_rl.config.schema import CatalogueSource
from tower_rl.data import locales
from tower_rl.data.languages import LANGUAGE_NAMES
from tower_rl.data.rows import Answer, DataError, Row, user_message
from tower_rl.data.width import width
from verifiers.translation.instruct import instruct

PROMPT = (
    "Translate the following English text to {language}. Keep placeholders and tags exactly as they are. "
    "Reply with the translation only.\n\n{text}"
)

HUMAN = "human"
"""Origin of the catalogue's own translations, as answers."""

MIN_WORDS = 2
MIN_LETTERS = 8
LENGTH_RATIO = (0.33, 3.0)

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[sdrif]|\$?\{\{?\s*\w*\s*\}?\}")


def rows(name: str, source: CatalogueSource) -> list[Row]:
    """Usable segments of every language, languages in the configured order, segments in the catalogues' order.

    Raises DataError for a package that is missing or has no catalogues, and for a language that it or LANGUAGE_NAMES lacks.
    """
    owner = f"source {name!r}"
    root = locales.package_folder(owner, source.package)
    folders = locales.locale_folders(owner, source.package, root)
    found: list[Row] = []
    for language in source.languages:
        own = locales.folders_of(owner, source.package, folders, language)
        if language not in LANGUAGE_NAMES:
            raise DataError(f"{owner}: no English name is known for {language!r}; named are {', '.join(sorted(LANGUAGE_NAMES))}")
        for folder in own:
            for path in locales.catalogues(folder):
                found.extend(_rows_of_file(name, source, language, root, path))
    return found


def segment_kind(text: str) -> str:
    """`tag` where the text has a markup tag, else `placeholder` where it has a format placeholder, else `plain`."""
    if _TAG.search(text):
        return "tag"
    return "placeholder" if _PLACEHOLDER.search(text) else "plain"


def usable(text: str, translation: str, max_words: int) -> bool:
    """Whether the pair is one line of real words, is translated, keeps its marks, and has a plausible length."""
    if "\n" in text or text.strip() == translation.strip():
        return False
    if not MIN_WORDS <= len(text.split()) <= max_words or sum(map(str.isalpha, text)) < MIN_LETTERS:
        return False
    if _marks(text) != _marks(translation):
        return False
    return LENGTH_RATIO[0] <= width(translation) / width(text) <= LENGTH_RATIO[1]


def _rows_of_file(name: str, source: CatalogueSource, language: str, root: Path, path: Path) -> list[Row]:
    place = locales.domain(root, path)
    found = []
    for number, entry in enumerate(_entries(path)):
        text, translation = entry.msgid, entry.msgstr
        # Entries with plural forms have several translations of one source, so that none is the reference.
        if entry.msgid_plural or not translation.strip():
            continue
        if segment_kind(text) not in source.kinds or not usable(text, translation, source.max_words):
            continue
        id_ = f"{name}/{language}/{place}/{number}"
        if task := _task(source.prompt, text, translation, language, id_):
            prompt, meta = task
            human = Answer(translation, HUMAN, None)
            found.append(Row(id_, user_message(prompt), source.verifier, translation, meta, (human,)))
    return found


def _task(how: str, text: str, translation: str, language: str, id_: str) -> tuple[str, dict[str, Any]] | None:
    """Prompt and meta of a segment; None where its rules are not those of the human translation."""
    if how == "rules":
        return instruct(text, translation, "en", language, seed=zlib.crc32(id_.encode()))
    prompt = PROMPT.format(language=LANGUAGE_NAMES[language], text=text)
    return prompt, {"source_lang": "en", "target_lang": language, "source": text}


def _entries(path: Path) -> list[polib.POEntry] | list[polib.MOEntry]:
    """Entries in use: a .mo file has no others, in a .po file some are obsolete or fuzzy."""
    return [entry for entry in locales.load(path) if not entry.obsolete and "fuzzy" not in entry.flags]


def _marks(text: str) -> list[str]:
    return sorted(_TAG.findall(text) + _PLACEHOLDER.findall(text))
