"""Catalogues as corpora: one made for the purpose, and Django's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import polib
import pytest

from tower_rl.data.corpus.readers.gettext import chooses_as_english
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.languages import LANGUAGE_NAMES
from tower_rl.data.rows import DataError

Rows = Callable[..., list[dict[str, Any]]]
Parts = Callable[..., list[Part]]

ENGLISH_RULE = "nplurals=2; plural=(n != 1);"
RUSSIAN_RULE = (
    "nplurals=4; plural=(n%10==1 && n%100!=11 ? 0 : n%10>=2 && n%10<=4 && (n%100<12 || n%100>14) ? 1 : n%10==0 || "
    "(n%10>=5 && n%10<=9) || (n%100>=11 && n%100<=14)? 2 : 3);"
)


def catalogue(rule: str) -> polib.POFile:
    made = polib.POFile()
    made.metadata = {"Content-Type": "text/plain; charset=UTF-8", "Plural-Forms": rule}
    forms = {0: "%d Datei", 1: "%d Dateien"}
    made.append(polib.POEntry(msgid="Save", msgstr="Speichern"))
    made.append(polib.POEntry(msgid="Fuzzy", msgstr="Unscharf", flags=["fuzzy"]))
    made.append(polib.POEntry(msgid="Untranslated", msgstr=""))
    made.append(polib.POEntry(msgid="%d file", msgid_plural="%d files", msgstr_plural=forms))
    made.append(polib.POEntry(msgid="%d row", msgid_plural="%d rows", msgstr_plural={0: "%d Zeile", 1: ""}))
    made.append(polib.POEntry(msgid="Open", msgstr="Öffnen", msgctxt="menu"))
    made.append(polib.POEntry(msgid="Open", msgstr="Offen", msgctxt="state"))
    made.append(polib.POEntry(msgid="Obsolete", msgstr="Alt", obsolete=True))
    return made


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    """Folders of German and Russian catalogues in the package toy_corpus_package."""
    root = tmp_path / "toy_corpus_package"
    found = {language: root / "app" / "locale" / language / "LC_MESSAGES" for language in ("de", "ru", "pt_BR")}
    for folder in found.values():
        folder.mkdir(parents=True)
    (root / "__init__.py").touch()
    catalogue(ENGLISH_RULE).save(str(found["de"] / "django.po"))
    catalogue(ENGLISH_RULE).save_as_mofile(str(found["de"] / "django.mo"))
    catalogue(RUSSIAN_RULE).save(str(found["ru"] / "django.po"))
    catalogue(ENGLISH_RULE).save_as_mofile(str(found["pt_BR"] / "django.mo"))
    monkeypatch.syspath_prepend(str(tmp_path))
    return found


def read(rows: Rows, *languages: str) -> list[dict[str, Any]]:
    return rows(kind="gettext", package="toy_corpus_package", languages=list(languages))


def test_segments_and_what_is_unused(folders: dict[str, Path], rows: Rows) -> None:
    found = read(rows, "de")
    assert [(row["id"], row["original"], row["translation"]) for row in found if not row["dropped"]] == [
        ("c/de/app.django:1", "Save", "Speichern"),
        ("c/de/app.django:4.one", "%d file", "%d Datei"),
        ("c/de/app.django:4.other", "%d files", "%d Dateien"),
        ("c/de/app.django:6#menu", "Open", "Öffnen"),
        ("c/de/app.django:7#state", "Open", "Offen"),
    ]
    assert {(row["kind"], row["language"], row["document"]) for row in found if not row["dropped"]} == {("pair", "en-de", "")}
    path = folders["de"] / "django.po"
    lines = {text: number for number, text in enumerate(path.read_text().splitlines(), start=1)}
    assert [(row["dropped"], row["id"]) for row in found if row["dropped"]] == [
        ("unused: fuzzy", f"{path}:{lines['msgid "Fuzzy"'] - 1}"),
        ("unused: untranslated", f"{path}:{lines['msgid "Untranslated"']}"),
        ("unused: untranslated", f"{path}:{lines['msgid "%d row"']}"),
        ("unused: obsolete", f"{path}:{lines['#~ msgid "Obsolete"']}"),
    ]


def test_other_plural_forms_are_unused(folders: dict[str, Path], rows: Rows) -> None:
    found = read(rows, "ru")
    assert [row["original"] for row in found if not row["dropped"]] == ["Save", "Open", "Open"]
    assert sum(row["dropped"] == "unused: plural forms" for row in found) == 2


def test_binary_catalogues(folders: dict[str, Path], rows: Rows) -> None:
    found = read(rows, "pt_BR")
    assert {row["translation"] for row in found if not row["dropped"]} == {
        "Speichern", "%d Datei", "%d Dateien", "Öffnen", "Offen"
    }  # fmt: skip
    assert {row["language"] for row in found if not row["dropped"]} == {"en-pt_BR"}


@pytest.mark.parametrize(
    ("rule", "same"),
    [
        (ENGLISH_RULE, True),
        ("nplurals=2; plural=n != 1;", True),
        ("nplurals=2; plural=(n > 1);", True),  # French: 0 goes with 1
        ("nplurals=1; plural=0;", False),
        (RUSSIAN_RULE, False),
        ("nplurals=2; plural=(n%10!=1 || n%100==11);", False),  # Icelandic: 21 goes with 1
        ("nplurals=2; plural=(n == 1);", False),
        ("nplurals=2; plural=(n != 1) nonsense(;", False),
        ("nplurals=INTEGER; plural=EXPRESSION;", False),
        ("", False),
    ],
)
def test_rules_of_plural_forms(rule: str, same: bool) -> None:
    assert chooses_as_english(rule) is same


def test_django_in_every_tower_language(rows: Rows, parts: Parts) -> None:
    languages = [name for name in LANGUAGE_NAMES if name not in ("en", "es_419", "no", "pt_PT", "zh_CN", "zh_TW")]
    options = {"kind": "gettext", "package": "django", "languages": languages, "licence": "BSD-3-Clause"}
    found = rows(**options)
    assert len({row["id"] for row in found}) == len(found)
    assert rows(**options) == found
    used = [row for row in found if not row["dropped"]]
    for language in languages:
        assert sum(row["language"] == f"en-{language}" for row in used) > 400
    assert {row["dropped"] for row in found} <= {
        "", "unused: fuzzy", "unused: obsolete", "unused: untranslated", "unused: plural forms"
    }  # fmt: skip
    entries = sum(len(polib.pofile(part.paths[0])) for part in parts(**options))
    assert len({row["id"].removesuffix(".one").removesuffix(".other") for row in used}) <= entries <= len(found)
    assert {row["licence"] for row in found} == {"BSD-3-Clause"}
    plural = [row for row in used if row["id"].startswith("c/de/") and row["id"].partition("#")[0].endswith(".other")]
    assert len(plural) > 5


def test_what_is_missing_or_damaged(folders: dict[str, Path], rows: Rows, parts: Parts) -> None:
    with pytest.raises(DataError, match="corpus 'c': the package 'no_such_package_here' is not installed"):
        parts(kind="gettext", package="no_such_package_here", languages=["de"])
    with pytest.raises(DataError, match="corpus 'c': the package 'json' has no gettext catalogues"):
        parts(kind="gettext", package="json", languages=["de"])
    with pytest.raises(DataError, match="corpus 'c': toy_corpus_package has no catalogues of 'ko'; it has de, pt_BR, ru"):
        read(rows, "ko")
    (folders["de"] / "django.po").write_bytes(b'msgid "a"\nmsgstr "\xff"\n')
    with pytest.raises(DataError, match=r"django\.po cannot be read"):
        read(rows, "de")
