"""Translation tasks from gettext catalogues: Django's, and one made for the purpose."""

from pathlib import Path

import polib
import pytest

from tower_rl.config.schema import CatalogueSource
from tower_rl.data import catalogue
from tower_rl.data.languages import LANGUAGE_NAMES
from tower_rl.data.rows import DataError
from verifiers import Task, load, verify
from verifiers.translation import RULES, languages


def source(**changes: object) -> CatalogueSource:
    return CatalogueSource.model_validate({"kind": "catalogue", "languages": ["de"], "verifier": "v", **changes})


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """An importable package with one German .po file and one French .mo file."""
    root = tmp_path / "toy_catalogue_package"
    catalogue_file = polib.POFile()
    catalogue_file.append(polib.POEntry(msgid="Save your changes", msgstr="Änderungen speichern"))
    catalogue_file.append(polib.POEntry(msgid="A fuzzy entry here", msgstr="Ein unscharfer Eintrag", flags=["fuzzy"]))
    catalogue_file.append(polib.POEntry(msgid="An obsolete entry", msgstr="Ein alter Eintrag", obsolete=True))
    catalogue_file.append(polib.POEntry(msgid="Not yet translated", msgstr=""))
    catalogue_file.append(
        polib.POEntry(msgid="%d file found", msgid_plural="%d files found", msgstr_plural={0: "%d Datei", 1: "%d Dateien"})
    )
    catalogue_file.append(polib.POEntry(msgid="Open the file", msgstr="Datei öffnen", msgctxt="menu"))
    for language, name in (("de", "django.po"), ("fr", "django.mo")):
        folder = root / "app" / "locale" / language / "LC_MESSAGES"
        folder.mkdir(parents=True)
        if name.endswith(".po"):
            catalogue_file.save(str(folder / name))
        else:
            catalogue_file.save_as_mofile(str(folder / name))
    (root / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(tmp_path))
    return root.name


def test_a_row(package: str) -> None:
    row = catalogue.rows("ui", source(package=package))[0]
    assert row.id == "ui/de/app.django/0"
    assert row.messages[0]["content"] == (
        "Translate the following English text to German. Keep placeholders and tags exactly as they are. "
        "Reply with the translation only.\n\nSave your changes"
    )
    assert row.reference == "Änderungen speichern"
    assert row.meta == {"source_lang": "en", "target_lang": "de", "source": "Save your changes"}
    assert row.language_pair == "en-de"


@pytest.mark.parametrize("language", ["de", "fr"])
def test_fuzzy_obsolete_empty_and_plural_entries_are_dropped(package: str, language: str) -> None:
    rows = catalogue.rows("ui", source(package=package, languages=[language]))
    assert {row.meta["source"] for row in rows} == {"Save your changes", "Open the file"}


def test_django_has_all_kinds_in_every_tower_language() -> None:
    languages = [name for name in LANGUAGE_NAMES if name not in ("en", "es_419", "no", "pt_PT", "zh_CN", "zh_TW")]
    rows = catalogue.rows("django", source(languages=languages))
    assert len({row.id for row in rows}) == len(rows)
    for language in languages:
        kinds = [catalogue.segment_kind(row.meta["source"]) for row in rows if row.meta["target_lang"] == language]
        assert len(kinds) > 200
        assert set(kinds) == {"plain", "placeholder", "tag"}


def test_kinds_and_length_are_filters() -> None:
    rows = catalogue.rows("django", source(kinds=["placeholder"], max_words=5))
    assert rows
    assert {catalogue.segment_kind(row.meta["source"]) for row in rows} == {"placeholder"}
    assert max(len(row.meta["source"].split()) for row in rows) == 5


def test_segments_become_instructions_that_their_translation_follows() -> None:
    made = source(prompt="rules", languages=["de", "ja"], max_words=12)
    rows = catalogue.rows("django", made)
    assert catalogue.rows("django", made) == rows
    plain = catalogue.rows("django", source(languages=["de", "ja"], max_words=12))
    assert 0.9 * len(plain) < len(rows) <= len(plain)
    asked = [row for row in rows if set(row.meta) & {"keep", "max_chars", "register"}]
    assert len(asked) > 0.3 * len(rows)
    assert all(row.messages[0]["content"].endswith(row.meta["source"]) for row in rows)
    verifier = load("translation_rules", rules=[name for name in RULES if name != "similarity"])
    verdicts = verify(verifier, [Task("", row.reference, row.reference, row.meta) for row in rows[::20]])
    assert sum(bool(verdict.passed) for verdict in verdicts) > 0.95 * len(verdicts)


def test_every_named_language_can_be_asked_for() -> None:
    assert all(languages.is_known(language) for language in LANGUAGE_NAMES)


def test_the_rows_are_the_same_every_time() -> None:
    assert catalogue.rows("django", source()) == catalogue.rows("django", source())


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("Delete selected items", "plain"),
        ("Is 3 < 4 or 5 > 4?", "plain"),
        ("100% sure of it", "plain"),
        ("Add %(name)s", "placeholder"),
        ("Page %d of %s", "placeholder"),
        ("Hello {name}, hello {{ name }}", "placeholder"),
        ("Read <a href='%(url)s'>this</a>", "tag"),
        ("First line<br/>second", "tag"),
    ],
)
def test_kinds(text: str, kind: str) -> None:
    assert catalogue.segment_kind(text) == kind


@pytest.mark.parametrize(
    ("text", "translation", "good"),
    [
        ("Save your changes", "Änderungen speichern", True),
        ("Enter a valid value.", "输入有效的值。", True),
        ("Password", "Passwort", False),
        ("a b c 1 2 3", "x y z 1 2 3", False),
        ("First line\nsecond line", "Erste Zeile\nzweite Zeile", False),
        ("Internet Protocol", "Internet Protocol", False),
        ("Save your changes", "OK", False),
        ("Save changes", "Speichern Sie alle Ihre bisherigen Änderungen jetzt", False),
        ("one two three four five six seven", "eins zwei drei vier fünf sechs", False),
        ("Please add %(name)s", "Bitte %(nome)s hinzufügen", False),
        ("Please add %(name)s", "Bitte %(name)s hinzufügen", True),
    ],
)
def test_usable_pairs(text: str, translation: str, good: bool) -> None:
    assert catalogue.usable(text, translation, max_words=6) is good


def test_missing_packages_and_languages(package: str) -> None:
    with pytest.raises(DataError, match="package 'no_such_package_here' is not installed"):
        catalogue.rows("ui", source(package="no_such_package_here"))
    with pytest.raises(DataError, match=r"package 'no_such\.sub' is not installed"):
        catalogue.rows("ui", source(package="no_such.sub"))
    with pytest.raises(DataError, match="has no gettext catalogues"):
        catalogue.rows("ui", source(package="json"))
    with pytest.raises(DataError, match="has no catalogues of 'ko'; it has de, fr"):
        catalogue.rows("ui", source(package=package, languages=["ko"]))
    with pytest.raises(DataError, match="no English name is known for 'cy'; named are cs, da"):
        catalogue.rows("django", source(languages=["cy"]))


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("de/LC_MESSAGES/django.po", b"no catalogue at all"),
        ("de/LC_MESSAGES/django.po", b'msgid "a"\nmsgstr "\xff"\n'),
        ("fr/LC_MESSAGES/django.mo", b""),
        ("fr/LC_MESSAGES/django.mo", b"\xde\x12\x04\x95" + b"\xff" * 40),
    ],
)
def test_a_damaged_catalogue(package: str, tmp_path: Path, file: str, content: bytes) -> None:
    (tmp_path / package / "app" / "locale" / file).write_bytes(content)
    with pytest.raises(DataError, match=r"django\..o cannot be read"):
        catalogue.rows("ui", source(package=package, languages=["de", "fr"]))
