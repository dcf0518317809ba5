"""Every wording has its fields and says unmistakably which language or variant it wants."""

import string

import pytest

from tower_rl.data.corpus.instructions import wordings
from tower_rl.data.languages import LANGUAGE_NAMES

ENDONYMS = {
    "Chinese (Simplified)": "简体中文", "Chinese (Traditional)": "繁體中文", "Czech": "češtin", "Danish": "dansk",
    "Dutch": "Nederlands", "English": "English", "French": "français", "German": "Deutsch", "Italian": "italiano",
    "Japanese": "日本語", "Korean": "한국어", "Polish": "polski", "Portuguese (Brazilian)": ("do Brasil", "brasileiro"),
    "Portuguese (Portugal)": ("europeu", "de Portugal"), "Russian": "русский", "Spanish": "español",
    "Spanish (Latin America)": ("Latinoamérica", "latinoamericano"), "Swedish": "svenska", "Ukrainian": "українськ",
}  # fmt: skip
OTHERS = {
    "POST_EDIT": {"source", "flawed"},
    "ERROR_SPANS": {"source", "shown"},
    "CHOOSE_BETTER": {"source", "first", "second"},
    "TERMINOLOGY": {"source", "glossary"},
    "FORMALITY": {"source", "register"},
}


def fields(template: str) -> list[str]:
    return [name for _, name, _, _ in string.Formatter().parse(template) if name is not None]


def test_there_are_many_and_one_is_the_model_cards() -> None:
    assert len(set(wordings.ENGLISH)) == len(wordings.ENGLISH) >= 20
    filled = wordings.CARD.format(from_lang="English", to_lang="Portuguese (Portugal)", source="Hello")
    assert filled == (
        "Translate the following English source text to Portuguese (Portugal):\nEnglish: Hello\nPortuguese (Portugal): "
    )
    assert wordings.CARD in wordings.ENGLISH


@pytest.mark.parametrize("template", wordings.ENGLISH)
def test_english_wordings_have_the_source_once_and_name_the_target(template: str) -> None:
    assert fields(template).count("source") == 1
    assert "to_lang" in fields(template) and set(fields(template)) <= {"source", "from_lang", "to_lang"}


@pytest.mark.parametrize("language", wordings.NATIVE)
def test_native_wordings_name_the_target_in_its_own_language(language: str) -> None:
    assert language in LANGUAGE_NAMES.values()
    names = ENDONYMS[language]
    for template in wordings.NATIVE[language]:
        assert fields(template) == ["source"]
        assert any(name in template for name in ([names] if isinstance(names, str) else names))


@pytest.mark.parametrize("name", OTHERS)
def test_wordings_of_the_other_tasks_have_their_fields_once_and_name_the_target(name: str) -> None:
    for template in getattr(wordings, name):
        found = fields(template)
        assert set(found) - {"from_lang"} == OTHERS[name] | {"to_lang"}
        assert all(found.count(field) == 1 for field in OTHERS[name])


def test_no_article_before_a_language_that_may_start_with_a_vowel() -> None:
    every = [*wordings.ENGLISH, *(template for name in OTHERS for template in getattr(wordings, name))]
    assert not [template for template in every if " a {" in template or " an {" in template]
