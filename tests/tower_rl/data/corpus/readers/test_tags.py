"""Language tags."""

import pytest

from tower_rl.data.corpus.readers.tags import configured, language_code
from tower_rl.data.languages import LANGUAGE_NAMES
from tower_rl.data.rows import DataError


@pytest.mark.parametrize(
    ("tag", "code"),
    [
        ("en", "en"),
        ("EN", "en"),
        ("en-US", "en"),
        ("en_GB", "en"),
        ("de-AT", "de"),
        ("pt-BR", "pt_BR"),
        ("pt-br", "pt_BR"),
        ("pt-PT", "pt_PT"),
        ("pt", "pt"),
        ("es-419", "es_419"),
        ("es-mx", "es_MX"),
        ("es-ES", "es"),
        ("zh-TW", "zh_TW"),
        ("zh_CN", "zh_CN"),
        ("zh-hant", "zh_Hant"),
        ("zh-Hans-CN", "zh_Hans"),
        ("zh-HK", "zh_Hant"),
        ("zh-SG", "zh"),
        ("sr@latin", "sr_Latn"),
        ("sr-Latn-RS", "sr_Latn"),
        ("ca@valencia", "ca"),
        ("de-1996", "de"),
        ("haw-US", "haw"),
        (" fr ", "fr"),
    ],
)
def test_a_tag_becomes_a_code(tag: str, code: str) -> None:
    assert language_code(tag) == code


@pytest.mark.parametrize("code", LANGUAGE_NAMES)
def test_the_names_of_languages_are_codes_already(code: str) -> None:
    assert language_code(code) == code
    assert language_code(code.replace("_", "-").lower()) == code


@pytest.mark.parametrize("tag", ["", "English", "e", "x-klingon", "en-", "en US", "*all*", "de;q=1", "\ud800"])
def test_what_is_no_tag(tag: str) -> None:
    with pytest.raises(ValueError, match="no language tag"):
        language_code(tag)


def test_languages_of_the_configuration() -> None:
    assert configured("c", None) == ""
    assert configured("c", "pt-BR") == "pt_BR"
    with pytest.raises(DataError, match="corpus 'c': 'German' is no language tag"):
        configured("c", "German")
