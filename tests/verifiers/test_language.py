"""verifiers.language_id: sentences of many languages, variants, "unknown", and texts made to deceive."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict, load, verify
from verifiers.language_id import ENOUGH, is_in, letter_weight, pieces, probabilities
from verifiers.registry import WrongOption
from verifiers.translation import languages, variants

SENTENCES = {
    "de": "Bitte öffnen Sie die Einstellungen und ändern Sie Ihr Passwort, bevor Sie fortfahren.",
    "en": "Please open the settings and change your password before you continue.",
    "fr": "Veuillez ouvrir les paramètres et changer votre mot de passe avant de continuer.",
    "es": "Abra la configuración y cambie la contraseña antes de continuar con la instalación.",
    "it": "Aprire le impostazioni e modificare la password prima di continuare con l'installazione.",
    "pt_BR": "Abra as configurações e altere a senha do usuário antes de salvar o arquivo.",
    "pt_PT": "Abra as definições e altere a palavra-passe do utilizador antes de guardar o ficheiro.",
    "nl": "Open de instellingen en wijzig uw wachtwoord voordat u verdergaat met de installatie.",
    "da": "Åbn indstillingerne, og skift din adgangskode, før du fortsætter med installationen.",
    "nb": "Åpne innstillingene og endre passordet ditt før du fortsetter med installasjonen.",
    "nn": "Opne innstillingane og endre passordet ditt før du held fram med installasjonen, ikkje etterpå.",
    "sv": "Öppna inställningarna och ändra ditt lösenord innan du fortsätter med installationen.",
    "fi": "Avaa asetukset ja vaihda salasanasi ennen kuin jatkat asennusta.",
    "pl": "Otwórz ustawienia i zmień hasło, zanim będziesz kontynuować instalację.",
    "cs": "Otevřete nastavení a změňte heslo, než budete pokračovat v instalaci.",
    "ru": "Откройте настройки и измените пароль, прежде чем продолжить установку.",
    "uk": "Відкрийте налаштування та змініть пароль, перш ніж продовжити встановлення.",
    "hi": "जारी रखने से पहले सेटिंग खोलें और अपना पासवर्ड बदलें।",
    "ja": "続行する前に設定を開いてパスワードを変更してください。",
    "ko": "계속하기 전에 설정을 열고 비밀번호를 변경하십시오.",
    "zh_Hans": "请在继续之前打开设置并更改您的密码。",
    "zh_Hant": "請在繼續之前開啟設定並變更您的密碼。",
    "el": "Ανοίξτε τις ρυθμίσεις και αλλάξτε τον κωδικό πρόσβασης.",
}


def judge(response: str, target: object = "de") -> Verdict:
    (verdict,) = verify(load("verifiers.language_id:Language"), [Task("", response, meta={"target_lang": target})])
    return verdict


def score(response: str, target: str = "de") -> float:
    verdict = judge(response, target)
    assert verdict.score is not None, verdict
    return verdict.score


@pytest.mark.parametrize("code", SENTENCES)
def test_each_language_is_itself_and_no_other(code: str) -> None:
    assert judge(SENTENCES[code], code).passed is True
    assert score(SENTENCES[code], code) > 0.9
    for other, sentence in SENTENCES.items():
        if languages.base(other) != languages.base(code):
            verdict = judge(sentence, code)
            assert verdict.passed is False, other
            assert verdict.score is not None
            assert verdict.score <= 0.5, other


def test_norwegian_is_either_of_its_two() -> None:
    for own, other in (("nb", "nn"), ("nn", "nb")):
        assert is_in(SENTENCES[own], own) is is_in(SENTENCES[own], "no") is True
        assert is_in(SENTENCES[own], other) is not True


@pytest.mark.parametrize(("right", "wrong"), [("pt_BR", "pt_PT"), ("pt_PT", "pt_BR"), ("zh_Hans", "zh_Hant"), ("zh_TW", "zh-CN")])
def test_variants(right: str, wrong: str) -> None:
    sentence = SENTENCES["zh_Hant" if right == "zh_TW" else right]
    assert judge(sentence, right).parts["variant"] == 1.0
    verdict = judge(sentence, wrong)
    assert verdict.passed is False
    assert verdict.parts["language"] > 0.9
    assert verdict.parts["variant"] <= 0.25
    assert "variant" in verdict.reason
    assert judge(sentence, languages.base(right)).score == pytest.approx(verdict.parts["language"])


@pytest.mark.parametrize(
    ("text", "code", "rival"),
    [
        ("Tenéis que arreglar vuestro ordenador.", "es_ES", "es_AR"),
        ("¿Vos querés usar la computadora?", "es_AR", "es_ES"),
        ("Ustedes compran celulares.", "es_MX", "es_ES"),
        ("O fenômeno é econômico.", "pt_BR", "pt_PT"),
        ("O fenómeno é económico.", "pt_PT", "pt_BR"),
    ],
)
def test_words_of_variants(text: str, code: str, rival: str) -> None:
    own, other = variants.variant(code), variants.variant(rival)
    assert own and other
    assert variants.share(text, own) == 1.0
    assert variants.share(text, other) in (1 / 3, 1 / 4)  # two or three words against none


def test_one_word_of_the_other_variant_halves_the_share() -> None:
    assert variants.share("o ficheiro", "pt_BR") == 0.5  # (1 + 0) / (1 + 0 + 1)
    assert variants.share("o arquivo, a tela, o ficheiro", "pt_BR") == 0.75
    assert variants.share("a casa", "pt_BR") is None
    assert variants.variant("de_AT") is None


def test_a_variant_that_nothing_tells_is_named() -> None:
    verdict = judge("A casa é muito bonita e fica perto da praia.", "pt_BR")
    assert verdict.passed is True
    assert "variant" not in verdict.parts
    assert "nothing tells whether it is pt_BR" in verdict.reason


@pytest.mark.parametrize("response", ["OK", "Server", "Backup", "Ja."])
def test_too_few_letters_are_unknown_and_no_pass(response: str) -> None:
    verdict = judge(response)
    assert (verdict.score, verdict.passed, verdict.flags) == (0.5, False, ("unknown_language",))
    assert "may be several languages" in verdict.reason


@pytest.mark.parametrize(("response", "target"), [("예", "ko"), ("はい", "ja"), ("文件为空", "zh"), ("हाँ", "hi")])
def test_a_script_of_one_language_needs_few_letters(response: str, target: str) -> None:
    assert judge(response, target).passed is True
    assert judge(response, "de").score == 0.0


@pytest.mark.parametrize("response", ["", " \n", "\u200b\u200d", "42", "... !!! ???", "😀 😀", "<b></b> %s {0}", "\0\ud800"])
def test_no_text_scores_nothing(response: str) -> None:
    verdict = judge(response)
    assert (verdict.score, verdict.passed) == (0.0, False)


def test_sentences_are_judged_one_by_one() -> None:
    mixed = judge(f"{SENTENCES['de']} {SENTENCES['en']}")
    assert mixed.passed is False
    assert mixed.score == pytest.approx(0.55, abs=0.08)
    assert "45% of the letters are not German" in mixed.reason
    quoting = judge(f"{SENTENCES['de']} {SENTENCES['de']} {SENTENCES['de']} Just do it now!")
    assert quoting.passed is True
    assert (quoting.score or 1.0) < 1.0


@pytest.mark.parametrize(
    "response",
    [
        "Sure, here is what you asked for: I can help you with that.",
        "asdkj qwelkj zxcmn qpwoei lkjasd qwlekj",
        "und und " + SENTENCES["en"],
        SENTENCES["en"].replace("e", "е"),  # Cyrillic
        "".join(f"{letter}\u200b" for letter in SENTENCES["en"]),
        SENTENCES["en"].upper(),
        "Otkroyte nastroyki i izmenite parol prezhde chem prodolzhit ustanovku",
    ],
)
def test_tricks_do_not_pass(response: str) -> None:
    verdict = judge(response)
    assert verdict.passed is False
    assert (verdict.score or 0.0) <= 0.5


def test_pieces_keep_all_letters() -> None:
    text = "Ja. Nein. " + SENTENCES["de"] + "\nGut.\n"
    found = list(pieces(text))
    assert letter_weight("".join(found)) == letter_weight(text)
    assert all(letter_weight(piece) >= ENOUGH for piece in found[:-1])


def test_probabilities_are_of_the_script() -> None:
    assert set(probabilities(SENTENCES["ru"]) or ()) == {"bg", "ru", "sr", "uk"}
    assert probabilities("Ա" * 20) == {}  # no language here is written in Armenian
    assert probabilities("5") is None


def test_the_option_is_the_language_without_meta() -> None:
    verifier = load("verifiers.language_id:Language", language="fr")
    tasks = [Task("", SENTENCES["fr"]), Task("", SENTENCES["fr"], meta={"target_lang": "de"})]
    assert [verdict.passed for verdict in verify(verifier, tasks)] == [True, False]
    with pytest.raises(WrongOption, match="unknown language"):
        load("verifiers.language_id:Language", language="xx")


@pytest.mark.parametrize("target", [None, 5, "", "xx"])
def test_no_known_target_is_invalid(target: object) -> None:
    assert judge("Die Datei ist leer.", target).status is Status.INVALID


@pytest.mark.parametrize(
    "response",
    [
        "Datei " * 30_000,
        "x" * 200_000,
        "a. " * 60_000,
        "文" * 200_000,
        "êmo" * 60_000,
        "a@" * 50_000,
        "!\n. " * 50_000,
        "x" * 10**7,
    ],
)
def test_huge_responses_are_judged_in_seconds(response: str) -> None:
    begin = time.process_time()
    assert judge(response, "pt_BR").status is Status.SCORED
    assert time.process_time() - begin < 5


@settings(max_examples=60, deadline=None)
@given(st.text(), st.sampled_from(sorted([*languages.NAMES, *languages.VARIANTS])))
def test_any_text_gets_a_verdict(response: str, target: str) -> None:
    assert judge(response, target).status is Status.SCORED
