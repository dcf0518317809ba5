"""Catalogues of gettext that installed packages carry: English to the catalogue's language.

Neighbouring entries are strings from all over a program, no running text, so that they have no document. The context of an
entry (msgctxt) says where it stands in the program; it is in the id and not in the text.

Plural forms: a language of two forms that chooses them as English does (one for n = 1, another from 2 on, as in German or French)
has one translation for each of the two English forms. Elsewhere a form also serves other numbers than its English one: the first
Russian form stands for 1, 21, 31, the only Japanese one for all, so that a catalogue's "one file" reads "%d files" there. Such
entries are not used.
"""

import gettext
import re
from collections.abc import Iterator
from pathlib import Path

import polib

from tower_rl.config.corpora import GettextCorpus
from tower_rl.data import locales
from tower_rl.data.corpus.readers.part import BadRow, Part, Record, filled
from tower_rl.data.corpus.readers.tags import configured
from tower_rl.data.rows import Reject

_TRIED = range(2, 1001)
_RULE = r"nplurals\s*=\s*(\d+)\s*;\s*plural\s*=\s*([^;]+)"


def files(name: str, corpus: GettextCorpus) -> list[Part[GettextCorpus]]:
    """One part per catalogue, languages in the configured order. Raises DataError."""
    owner = f"corpus {name!r}"
    root = locales.package_folder(owner, corpus.package)
    folders = locales.locale_folders(owner, corpus.package, root)
    return [
        Part(name, corpus, (str(path),), f"{language}/{locales.domain(root, path)}")
        for language in corpus.languages
        for folder in locales.folders_of(owner, corpus.package, folders, language)
        for path in locales.catalogues(folder)
    ]


def read(part: Part[GettextCorpus]) -> Iterator[Record | Reject]:
    """Segments in the catalogue's order. Raises DataError for a damaged catalogue."""
    locale, _, _ = part.label.partition("/")
    language = f"en-{configured(part.name, locale)}"
    catalogue = locales.load(Path(part.paths[0]))
    as_in_english = chooses_as_english(catalogue.metadata.get("Plural-Forms", ""))
    for number, entry in enumerate(catalogue, start=1):
        try:
            pairs = _pairs(entry, as_in_english)
        except BadRow as error:
            yield part.reject(entry.linenum or number, error)
            continue
        for form, (original, translation) in pairs.items():
            id_ = part.row_id(f"{number}{form}", entry.msgctxt or "")
            yield Record(id_, "pair", language, original=original, translation=translation, position=number)


def chooses_as_english(rule: str) -> bool:
    """Whether a catalogue's Plural-Forms has one form for n = 1 and one for all from 2 on; what 0 takes may differ."""
    match = re.search(_RULE, rule)
    if match is None or int(match[1]) != 2:
        return False
    try:
        form = gettext.c2py(match[2])
    except ValueError:
        return False
    return form(1) == 0 and all(form(number) == 1 for number in _TRIED)


def _pairs(entry: polib.POEntry | polib.MOEntry, as_in_english: bool) -> dict[str, tuple[str, str]]:
    """Originals and translations, by what an id says of the plural form. Raises BadRow."""
    if entry.obsolete:
        raise BadRow("unused: obsolete", "the entry is obsolete")
    if "fuzzy" in entry.flags:
        raise BadRow("unused: fuzzy", "the translation is marked as fuzzy")
    if not entry.msgid_plural:
        return {"": _pair(entry.msgid, entry.msgstr)}
    if not as_in_english:
        raise BadRow("unused: plural forms", "the language's plural forms are not those of English")
    forms = entry.msgstr_plural
    return {".one": _pair(entry.msgid, forms.get(0, "")), ".other": _pair(entry.msgid_plural, forms.get(1, ""))}


def _pair(original: str, translation: str) -> tuple[str, str]:
    if not translation.strip():
        raise BadRow("unused: untranslated", "the entry has no translation")
    return filled(original, "msgid"), translation
