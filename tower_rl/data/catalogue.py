"""Translation tasks from the gettext catalogues that an installed package carries (English to the catalogue's language)."""

import importlib.util
import re
import struct
import zlib
from pathlib import Path
from typing import Any

import polib

from tower_rl.config.schema import CatalogueSource
from tower_rl.data.languages import LANGUAGE_NAMES
from tower_rl.data.rows import DataError, Row, user_message
from tower_rl.data.width import width
from verifiers.translation.instruct import instruct

PROMPT = (
    "Translate the following English text to {language}. Keep placeholders and tags exactly as they are. "
    "Reply with the translation only.\n\n{text}"
)

MIN_WORDS = 2
MIN_LETTERS = 8
LENGTH_RATIO = (0.33, 3.0)

_TAG = re.compile(r"</?[A-Za-z][^<>]*>")
_PLACEHOLDER = re.compile(r"%\(\w+\)[a-z]|%[sdrif]|\$?\{\{?\s*\w*\s*\}?\}")


def rows(name: str, source: CatalogueSource) -> list[Row]:
    """Usable segments of every language, languages in the configured order, segments in the catalogues' order.

    Raises DataError for a package that is missing or has no catalogues, and for a language that it or LANGUAGE_NAMES lacks.
    """
    root = _package_folder(name, source.package)
    folders = _locale_folders(name, source.package, root)
    found: list[Row] = []
    for language in source.languages:
        if language not in folders:
            raise DataError(
                f"source {name!r}: {source.package} has no catalogues of {language!r}; it has {', '.join(sorted(folders))}"
            )
        if language not in LANGUAGE_NAMES:
            raise DataError(
                f"source {name!r}: no English name is known for {language!r}; named are {', '.join(sorted(LANGUAGE_NAMES))}"
            )
        for folder in folders[language]:
            for path in _catalogues(folder):
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
    place = ".".join((*path.relative_to(root).parts[:-4], path.stem))
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
            found.append(Row(id_, user_message(prompt), source.verifier, translation, meta))
    return found


def _task(how: str, text: str, translation: str, language: str, id_: str) -> tuple[str, dict[str, Any]] | None:
    """Prompt and meta of a segment; None where its rules are not those of the human translation."""
    if how == "rules":
        return instruct(text, translation, "en", language, seed=zlib.crc32(id_.encode()))
    prompt = PROMPT.format(language=LANGUAGE_NAMES[language], text=text)
    return prompt, {"source_lang": "en", "target_lang": language, "source": text}


def _entries(path: Path) -> list[polib.POEntry] | list[polib.MOEntry]:
    """Entries in use: a .mo file has no others, in a .po file some are obsolete or fuzzy."""
    try:
        if path.suffix == ".mo":
            return list(polib.mofile(str(path)))
        return [entry for entry in polib.pofile(str(path)) if not entry.obsolete and not entry.fuzzy]
    except (OSError, ValueError, struct.error) as error:
        raise DataError(f"the catalogue {path} cannot be read: {error}") from error


def _package_folder(name: str, package: str) -> Path:
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"source {name!r}: the package {package!r} is not installed in this environment")
    return Path(next(iter(spec.submodule_search_locations)))


def _locale_folders(name: str, package: str, root: Path) -> dict[str, list[Path]]:
    folders: dict[str, list[Path]] = {}
    for folder in sorted(root.glob("**/locale/*/LC_MESSAGES")):
        if _catalogues(folder):
            folders.setdefault(folder.parent.name, []).append(folder)
    if not folders:
        raise DataError(f"source {name!r}: the package {package!r} has no gettext catalogues (locale/LANGUAGE/LC_MESSAGES)")
    return folders


def _catalogues(folder: Path) -> list[Path]:
    """The .po files, and the .mo files that have no .po file beside them."""
    texts = sorted(folder.glob("*.po"))
    stems = {path.stem for path in texts}
    return texts + sorted(path for path in folder.glob("*.mo") if path.stem not in stems)


def _marks(text: str) -> list[str]:
    return sorted(_TAG.findall(text) + _PLACEHOLDER.findall(text))
