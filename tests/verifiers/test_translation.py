"""verifiers.translation: human translations pass, errors cost, tricks do not pay, and better is more."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict, load, verify
from verifiers.translation import Segment, instruction, language, languages, markup
from verifiers.translation.numbers import numbers
from verifiers.translation.rules import RULES
from verifiers.translation.shape import length, repetition, translation_only

RULES_VERIFIER = load("translation_rules")

SOURCE = "Select %d files in the folder <b>%(name)s</b> and press the button."
HUMAN = {
    "de": "Wählen Sie %d Dateien im Ordner <b>%(name)s</b> aus und drücken Sie die Schaltfläche.",
    "fr": "Sélectionnez %d fichiers dans le dossier <b>%(name)s</b> et appuyez sur le bouton.",
    "es": "Seleccione %d archivos de la carpeta <b>%(name)s</b> y pulse el botón.",
    "it": "Selezionare %d file nella cartella <b>%(name)s</b> e premere il pulsante.",
    "pt_BR": "Selecione %d arquivos na pasta <b>%(name)s</b> e pressione o botão.",
    "nl": "Selecteer %d bestanden in de map <b>%(name)s</b> en druk op de knop.",
    "ru": "Выберите %d файлов в папке <b>%(name)s</b> и нажмите кнопку.",
    "cs": "Vyberte %d souborů ve složce <b>%(name)s</b> a stiskněte tlačítko.",
    "hi": "फ़ोल्डर <b>%(name)s</b> में %d फ़ाइलें चुनें और बटन दबाएँ।",
    "ja": "フォルダー<b>%(name)s</b>内の%d個のファイルを選択し、ボタンを押してください。",
    "zh_Hans": "选择文件夹 <b>%(name)s</b> 中的 %d 个文件，然后按下按钮。",
    "ko": "<b>%(name)s</b> 폴더에서 파일 %d개를 선택하고 버튼을 누르십시오.",
    "nb": "Velg %d filer i mappen <b>%(name)s</b> og trykk på knappen.",
}
GERMAN = HUMAN["de"]


def judge(response: str, source: str = SOURCE, target: str = "de", reference: str | None = None, origin: str = "en") -> Verdict:
    meta = {"source": source, "source_lang": origin, "target_lang": target}
    (verdict,) = verify(RULES_VERIFIER, [Task("", response, reference=reference, meta=meta)])
    return verdict


def score(response: str, **rest: str) -> float:
    verdict = judge(response, **rest)
    assert verdict.score is not None
    return verdict.score


@pytest.mark.parametrize("target", HUMAN)
def test_human_translation_passes(target: str) -> None:
    verdict = judge(HUMAN[target], target=target)
    assert (verdict.passed, verdict.flags) == (True, ()), verdict
    assert verdict.score == pytest.approx(1.0, abs=0.05)
    assert judge(HUMAN[target], target=target, reference=HUMAN[target]).score == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize("target", HUMAN)
def test_another_language_does_not_pass(target: str) -> None:
    wrong = HUMAN["fr" if target != "fr" else "de"]
    verdict = judge(wrong, target=target)
    assert verdict.passed is False
    assert verdict.score is not None
    assert verdict.score < 0.15
    assert "wrong_language" in verdict.flags


@pytest.mark.parametrize(
    ("name", "response"),
    [
        ("empty", ""),
        ("blank", " \n\u200b"),
        ("copy", SOURCE),
        ("copy in capitals", SOURCE.upper().replace("%D", "%d").replace("%(NAME)S", "%(name)s")),
        ("copy without the full stop", SOURCE[:-1]),
        ("only placeholders", "%d <b>%(name)s</b>"),
        ("one word again and again", "%d <b>%(name)s</b> " + "Datei " * 12),
        ("English chat", "Sure, I can help you with that. What do you want me to translate?"),
        ("gibberish", "asdkj qwelkj zxcmn qpwoei lkjasd"),
        ("punctuation", "... !!! ???"),
        ("the source, then a word", SOURCE + " Datei"),
        ("endless", GERMAN * 100),
    ],
)
@pytest.mark.parametrize("reference", [None, GERMAN])
def test_cheap_tricks_do_not_pay(name: str, response: str, reference: str | None) -> None:
    verdict = judge(response, reference=reference)
    assert verdict.passed is False
    assert verdict.score is not None
    assert verdict.score < 0.3, (name, verdict)
    poor = judge("Wählen Sie Dateien im Ordner.", reference=reference)
    assert poor.score is not None
    assert verdict.score < poor.score - 0.1, (name, poor)


def test_score_rises_from_poor_to_good() -> None:
    ladder = [
        "",
        SOURCE,
        "Das Wetter in Hamburg ist heute leider sehr schlecht und kalt.",
        "Wählen Sie Dateien und drücken Sie.",
        "Wählen Sie Dateien im Ordner aus und drücken Sie den Knopf.",
        "Wählen Sie %d Dateien im Ordner aus und drücken Sie den Knopf.",
        "Wählen Sie %d Dateien im Ordner %(name)s aus und drücken Sie den Knopf.",
        "Wählen Sie %d Dateien im Ordner <b>%(name)s</b> aus und drücken Sie den Knopf.",
        GERMAN,
    ]
    scores = [score(text, reference=GERMAN) for text in ladder]
    assert scores == sorted(set(scores)), scores
    assert scores[-1] - scores[2] > 0.5


def test_half_translated_lies_between() -> None:
    source = "Open the settings of your account and change the password before you continue with the installation."
    whole = "Öffnen Sie die Einstellungen Ihres Kontos und ändern Sie das Passwort, bevor Sie mit der Installation fortfahren."
    half = "Öffnen Sie die Einstellungen Ihres Kontos und change the password before you continue with the installation."
    scores = [score(text, source=source) for text in (source, half, whole)]
    assert scores[0] + 0.1 < scores[1] < scores[2] - 0.1, scores


@pytest.mark.parametrize(
    "response",
    [
        "Here is the translation:\n" + GERMAN,
        "Translation: " + GERMAN,
        "German: " + GERMAN,
        "Hier ist die Übersetzung: " + GERMAN,
        '"' + GERMAN + '"',
        "```\n" + GERMAN + "\n```",
        "**" + GERMAN + "**",
        GERMAN + "\n\nNote: This uses the formal form of address.",
        GERMAN + " (Note: the formal form of address is used.)",
        GERMAN + "\n" + GERMAN,
        SOURCE + "\n" + GERMAN,
    ],
)
def test_anything_but_the_translation_costs(response: str) -> None:
    verdict = judge(response, reference=GERMAN)
    assert verdict.passed is False
    assert "extra_text" in verdict.flags
    assert verdict.score is not None
    assert verdict.score < score(GERMAN, reference=GERMAN) - 0.2


def test_a_source_that_looks_like_extra_text_is_translated_freely() -> None:
    assert judge("Hinweis: Die Datei ist leer.", source="Note: The file is empty.").passed is True
    assert judge('"Ja, das ist richtig"', source='"Yes, that is right"').passed is True
    assert judge("Zeile eins ist hier\nZeile zwei ist dort", source="Line one is here\nLine two is there").passed is True


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("%s of %d, %5.2f%%", ["%s", "%d", "%5.2f", "%%"]),
        ("%(name)s %(count)d %1$s %2$d", ["%(name)s", "%(count)d", "%1$s", "%2$d"]),
        ("{} {0} {name} {x:.2f} {obj.attr} {{value}}", ["{}", "{0}", "{name}", "{x:.2f}", "{obj.attr}", "{{value}}"]),
        ("${HOME} $[officename] %PRODUCTNAME %1 {% tag %}", ["${HOME}", "$[officename]", "%PRODUCTNAME", "%1", "{% tag %}"]),
        ("{n, plural, one {# file} other {# files}} in {place}", ["{n,plural}", "{place}"]),
        ("100% der Fälle, 100%ige, 50 % des", []),
        ("a < b, {not one}, 5 {", []),
        ("{n, plural, one {", []),
    ],
)
def test_placeholders_are_found(text: str, found: list[str]) -> None:
    assert sorted(markup.placeholders(text).elements()) == sorted(found)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("%s von %s in {0}", 1.0),
        ("{0}: %s von %s", 1.0),
        ("%s von in {0}", 0.8),
        ("%s %s %s in {0}", 6 / 7),
        ("von in", 0.0),
        ("%s von %S in {O}", 2 / 5),
        ("%\u200bs von %s in {0}", 0.8),
    ],
)
def test_placeholder_rule(response: str, expected: float) -> None:
    finding = RULES["placeholders"].check(Segment("%s of %s in {0}", response, "en", "de"))
    assert finding is not None
    assert finding.score == pytest.approx(expected, abs=0.01)


def test_rules_that_do_not_apply_are_left_out_but_inventions_count() -> None:
    parts = judge("Die Datei ist leer.", source="The file is empty.").parts
    assert not {"placeholders", "tags", "numbers", "similarity"} & set(parts)
    invented = judge("Die Datei %s ist <b>leer</b>.", source="The file is empty.")
    assert (invented.parts["placeholders"], invented.parts["tags"]) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ('<a href="/de">eins</a> <br> <i>zwei</i>', 1.0),
        ("<i>zwei</i><br/><a href='x'>eins</a>", 1.0),
        ('<a href="x">eins</a> <br> zwei', 0.75),
        ('<a href="x"><i>eins</a></i> <br>', 0.5),
        ('<\u0430 href="x">eins</a> <br> <i>zwei</i>', 0.44),
        ("eins", 0.0),
    ],
)
def test_tag_rule(response: str, expected: float) -> None:
    finding = RULES["tags"].check(Segment('<a href="x">one</a> <br> <i>two</i>', response, "en", "de"))
    assert finding is not None
    assert finding.score == pytest.approx(expected, abs=0.1)
    assert (finding.score == 1.0) == (expected == 1.0)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("1,234.5", "1.234,5"),
        ("1,234.5", "1\u202f234,5"),
        ("1,234,567", "1.234.567"),
        ("3.5", "3,5"),
        ("1234.5", "١٬٢٣٤٫٥"),
        ("42", "४२"),
        ("1st", "1."),
        ("2024-01-05", "05.01.2024"),
        ("1.2.3", "1.2.3"),
        ("10,000", "10'000"),
    ],
)
def test_numbers_in_any_locale(one: str, other: str) -> None:
    assert numbers(one) == numbers(other)


@pytest.mark.parametrize(("one", "other"), [("3.5", "35"), ("42", "43"), ("3 3", "3"), ("1.5", "1.6")])
def test_other_numbers_differ(one: str, other: str) -> None:
    assert numbers(one) != numbers(other)


def test_numbers_of_placeholders_and_addresses_do_not_count() -> None:
    assert numbers(markup.prose('%1$s {0} <h1 id="5"> https://x.org/2024 %5d')) == numbers("")
    assert RULES["numbers"].check(Segment("%1$s at https://x.org/7", "x", "en", "de")) is None


def test_length_decays_smoothly() -> None:
    source = "This is a sentence of a usual length, with some words in it."
    scores = [length(Segment(source, "wort " * count, "en", "de")) for count in (1, 2, 4, 12, 40, 80, 160)]
    values = [finding.score for finding in scores if finding]
    assert values[3] == 1.0
    assert 0 < values[0] < values[1] < values[3] > values[4] > values[5] > values[6] > 0


def test_length_knows_dense_scripts_and_short_labels() -> None:
    assert judge("文件为空。", source="The file is empty and cannot be used.", target="zh_Hans").parts["length"] == 1.0
    assert (
        judge("The file is empty and cannot be used.", source="文件为空，无法使用。", target="en", origin="zh").parts["length"]
        == 1.0
    )
    assert judge("Übernehmen", source="OK").parts["length"] == 1.0


def test_repetition() -> None:
    def of(text: str, source: str = SOURCE, target: str = "de") -> float:
        finding = repetition(Segment(source, text, "en", target))
        return finding.score if finding else 1.0

    assert of(GERMAN) == 1.0
    assert of("ein zwei drei vier " * 3) < 0.6
    assert of("Datei " * 12) < 0.2
    assert of("文件" * 20, target="zh") < 0.2
    assert of("sehr, sehr, sehr gut", "very, very, very good") == 1.0


@pytest.mark.parametrize(("code", "same"), [("pt-br", "pt_BR"), ("zh-Hans", "zh_Hans"), ("ZH_TW", "zh_TW"), ("DE", "de")])
def test_language_codes(code: str, same: str) -> None:
    assert languages.canonical(code) == same
    assert languages.is_known(code)


def test_language_by_script_and_words() -> None:
    assert language.score("12 %", "en", "de") is None
    assert (language.score("Файл пуст", "en", "ru") or 0) == 1.0
    assert (language.score("Fajl pust i ne mozhet", "en", "ru") or 0) == 0.0
    assert (language.score("文件是空的", "en", "ko") or 0) < 0.6
    assert (language.score("The file is empty and cannot be used", "en", "de") or 0) < 0.05
    assert (language.score("Die Datei ist leer und kann nicht benutzt werden", "en", "de") or 0) == 1.0


def test_variants_of_one_language_may_be_equal() -> None:
    assert judge("O arquivo é seguro.", source="O arquivo é seguro.", target="pt_BR", origin="pt").passed is True


def test_a_reference_equal_to_the_source_allows_the_copy() -> None:
    assert judge("Firefox Sync", source="Firefox Sync", reference="Firefox Sync").passed is True
    assert judge("Firefox Sync", source="Firefox Sync").flags == ("copied_source",)


@pytest.mark.parametrize(
    ("meta", "reference"),
    [
        ({}, None),
        ({"source": "x", "source_lang": "en"}, None),
        ({"source": "x", "source_lang": "en", "target_lang": "xx"}, None),
        ({"source": "", "source_lang": "en", "target_lang": "de"}, None),
        ({"source": "x", "source_lang": "en", "target_lang": "de"}, 5),
    ],
)
def test_wrong_data_is_invalid(meta: dict[str, str], reference: object) -> None:
    (verdict,) = verify(RULES_VERIFIER, [Task("", "Antwort", reference=reference, meta=meta)])
    assert verdict.status is Status.INVALID
    assert "verifier error" not in verdict.reason


def test_options_choose_rules_and_weights() -> None:
    only = load("translation_rules", rules=["placeholders", "tags"], weights={"tags": 3.0})
    meta = {"source": SOURCE, "source_lang": "en", "target_lang": "de"}
    (verdict,) = verify(only, [Task("", "%d %(name)s", meta=meta)])
    assert verdict.parts == {"placeholders": 1.0, "tags": 0.0}
    assert verdict.score == 0.25


def test_instruction_names_what_is_checked() -> None:
    said = instruction(Segment(SOURCE + " 5 times", "", "en", "pt-BR"))
    assert said.startswith("Translate the following text from English into Brazilian Portuguese.")
    for part in ("%(name)s", "tags", "numbers", "translation only"):
        assert part in said
    assert "placeholders" not in instruction(Segment("Hello", "", "en", "de"))


HOSTILE = ["{a, plural, " * 8_000, "<a" + " a" * 40_000, "<b>" * 30_000, "%" * 90_000, "1," * 45_000, "a@" * 45_000,
           "\n" * 90_000 + "x", "Datei " * 15_000, "{" * 90_000, "(" * 90_000, "x=\"" * 30_000]  # fmt: skip


@pytest.mark.parametrize("response", HOSTILE, ids=lambda text: text[:8].strip())
def test_hostile_responses_cost_little(response: str) -> None:
    begin = time.process_time()
    assert judge(response, source=SOURCE * 70).status is Status.SCORED
    assert time.process_time() - begin < 5


@settings(max_examples=150, deadline=None)
@given(st.text(min_size=1), st.text(), st.sampled_from(sorted(languages.NAMES)), st.none() | st.text())
def test_any_text_gets_a_verdict(source: str, response: str, target: str, reference: str | None) -> None:
    verdict = judge(response, source, target, reference)
    assert "verifier error" not in verdict.reason


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.sampled_from(["%s", "{0}", "<b>", "</b>", "1.5", "Datei", "file", "\n", '"', "```", "{n, plural, one {", "}", " "]),
        max_size=12,
    )
)
def test_any_mixture_gets_a_verdict(pieces: list[str]) -> None:
    response = "".join(pieces)
    assert judge(response).status is Status.SCORED
    finding = translation_only(Segment(SOURCE, response, "en", "de"))
    assert 0.0 <= finding.score <= 1.0
