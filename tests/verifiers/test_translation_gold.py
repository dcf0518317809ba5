"""Each rule of verifiers.translation with a right translation, which passes, and a wrong one, which fails by that rule."""

from typing import Any

import pytest

from verifiers import Task, Verdict, load, verify
from verifiers.translation import RULES

VERIFIER = load("translation_rules")


def judge(source: str, response: str, target: str, **facts: Any) -> Verdict:
    meta = {"source": source, "source_lang": "en", "target_lang": target, **facts}
    (verdict,) = verify(VERIFIER, [Task("", response, meta=meta)])
    return verdict


FILE = {"glossary": {"file": "Datei"}}
GOLD: list[tuple[str, str, str, str, str, dict[str, Any]]] = [
    # rule, target, source, right, wrong, facts
    ("placeholders", "fi", "The value must be a multiple of %(step)s.",
     "Arvon tulee olla luvun %(step)smonikerta.", "Arvon tulee olla luvun %(steps)s monikerta.", {}),
    ("placeholders", "de", "{n, plural, one {# file was deleted} other {# files were deleted}}",
     "{n, plural, one {# Datei wurde gelöscht} other {# Dateien wurden gelöscht}}",
     "{m, plural, one {# Datei wurde gelöscht} other {# Dateien wurden gelöscht}}", {}),
    ("tags", "fr", "Press <b>Save</b> and then <i>Close</i> the window.",
     "Appuyez sur <b>Enregistrer</b> puis <i>fermez</i> la fenêtre.",
     "Appuyez sur <b>Enregistrer puis <i>fermez</b> la fenêtre</i>.", {}),
    ("urls", "it", "Read more about this at https://docs.example.org/en/intro.",
     "Per saperne di più, leggere https://docs.example.org/it/intro.",
     "Per saperne di più, leggere https://docs.example.com/it/intro.", {}),
    ("urls", "ja", "Send a message to admin@example.org for help.",
     "ヘルプが必要な場合はadmin@example.orgにメッセージを送ってください。",
     "ヘルプが必要な場合は管理者にメッセージを送ってください。", {}),
    ("urls", "ru", '<a href="https://example.org/a">Read the manual</a> before you begin.',
     '<a href="https://example.org/a">Прочтите руководство</a>, прежде чем начать.',
     '<a href="https://example.org/b">Прочтите руководство</a>, прежде чем начать.', {}),
    ("markdown", "es", "Set `debug` to **true** as the [manual](https://example.org) says.",
     "Ponga `debug` en **verdadero** como dice el [manual](https://example.org).",
     "Ponga depuración en verdadero como dice el manual (https://example.org).", {}),
    ("markdown", "pl", "# Settings\n- Change the password\n- Delete the account",
     "# Ustawienia\n- Zmień hasło\n- Usuń konto", "Ustawienia\nZmień hasło\nUsuń konto", {}),
    ("numbers", "ko", "You can upload at most 25 files in 3 folders.",
     "최대 3개의 폴더에 25개의 파일을 업로드할 수 있습니다.", "최대 3개의 폴더에 20개의 파일을 업로드할 수 있습니다.", {}),
    ("numbers", "zh_Hans", "The table has one column and 12 rows of data.", "该表有 1 列和 12 行数据。",
     "该表有 1 列和 13 行数据。", {}),
    ("numbers", "hi", "The password must contain at least 8 characters.",
     "पासवर्ड में कम से कम ८ अक्षर होने चाहिए।", "पासवर्ड में कम से कम ९ अक्षर होने चाहिए।", {}),
    ("number_format", "de", "The whole price is $1,234.50 without tax.",
     "Der gesamte Preis beträgt 1.234,50 $ ohne Steuern.", "Der gesamte Preis beträgt 1,234.50 $ ohne Steuern.", {}),
    ("number_format", "fr", "The interest rate is 3.75% for every year.",
     "Le taux d'intérêt est de 3,75 % pour chaque année.", "Le taux d'intérêt est de 3.75 % pour chaque année.", {}),
    ("number_format", "cs", "The archive needs 2.5 GB of free space.",
     "Archiv potřebuje 2,5 GB volného místa.", "Archiv potřebuje 2.5 GB volného místa.", {}),
    ("number_format", "ja", "The archive needs 2.5 GB of free space.",
     "アーカイブには2.5 GBの空き容量が必要です。", "アーカイブには2,5 GBの空き容量が必要です。", {}),
    ("units", "ru", "The file may not be larger than 20 MB.", "Файл не должен быть больше 20 МБ.",
     "Файл не должен быть больше 20 КБ.", {}),
    ("units", "fr", "The file may not be larger than 20 MB.",
     "Le fichier ne doit pas dépasser 20 Mo.", "Le fichier ne doit pas dépasser 20.", {}),
    ("units", "hu", "The picture is reduced to 80% of its size.",
     "A kép a méretének 80 százalékára csökken.", "A kép a méretének 80 részére csökken.", {}),
    ("units", "sv", "The trip is 15 km long and costs $30.", "Resan är 15 km lång och kostar 30 dollar.",
     "Resan är 15 mil lång och kostar 30 euro.", {}),
    ("dates", "de", "The contract ends on March 5, 2024.", "Der Vertrag endet am 5. März 2024.",
     "Der Vertrag endet am 5. Mai 2024.", {}),
    ("dates", "nl", "The contract ends on 12/31/2024.", "Het contract eindigt op 31-12-2024.",
     "Het contract eindigt op 12/31/2024.", {}),
    ("dates", "ru", "The contract was signed on 7 August 2023.",
     "Договор был подписан 7 августа 2023 года.", "Договор был подписан 8 августа 2023 года.", {}),
    ("dates", "cs", "The service will be closed in July 2025.",
     "Služba bude ukončena v červenci 2025.", "Služba bude ukončena v červnu 2025.", {}),
    ("dates", "ja", "The contract ends on March 5, 2024.", "契約は2024年3月5日に終了します。",
     "契約は2024年5月3日に終了します。", {}),
    ("dates", "pt_BR", "The contract ends on May 1, 2024.", "O contrato termina em 1º de maio de 2024.",
     "O contrato termina em 1º de junho de 2024.", {}),
    ("dates", "hu", "The contract ends on March 15, 2024.", "A szerződés 2024. március 15. napján ér véget.",
     "A szerződés 2024. május 15. napján ér véget.", {}),
    ("dates", "it", "The meeting begins at 3:30 PM today.", "La riunione inizia oggi alle 15:30.",
     "La riunione inizia oggi alle 3:30 PM.", {}),
    ("dates", "ko", "The meeting begins at 3:30 PM today.", "회의는 오늘 오후 3시 30분에 시작됩니다.",
     "회의는 오늘 오전 3시 30분에 시작됩니다.", {}),
    ("glossary", "de", "Select the files that you want to delete.",
     "Wählen Sie die Dateien aus, die Sie löschen möchten.", "Wählen Sie die Dokumente aus, die Sie löschen möchten.", FILE),
    ("glossary", "de", "Select the file that you want.", "Wählen Sie den Dateinamen aus, den Sie möchten.",
     "Wählen Sie die Daten aus, die Sie möchten.", FILE),
    ("glossary", "it", "Change the options of the printer.", "Modificare le opzioni della stampante.",
     "Modificare le scelte della stampante.", {"glossary": {"option": "opzione"}}),
    ("glossary", "ru", "Open the folder with your pictures.",
     "Откройте папку с вашими изображениями.", "Откройте каталог с вашими изображениями.", {"glossary": {"folder": "папка"}}),
    ("glossary", "cs", "Choose one of the books in the list.", "Vyberte si jednu z knih v seznamu.",
     "Vyberte si jeden ze svazků v seznamu.", {"glossary": {"book": "kniha"}}),
    ("glossary", "fi", "Change the settings of your account.", "Muuta tilisi asetuksia.", "Muuta tilisi määrityksiä.",
     {"glossary": {"settings": "asetukset"}}),
    ("glossary", "zh_Hant", "Change the settings of your account.", "變更您帳戶的設定。", "變更您帳戶的選項。",
     {"glossary": {"settings": "設定"}}),
    ("keep", "pl", "Install Firefox Sync on every computer.", "Zainstaluj Firefox Sync na każdym komputerze.",
     "Zainstaluj synchronizację Firefoksa na każdym komputerze.", {"keep": ["Firefox Sync"]}),
    ("keep", "sv", "Install Django on your own server.", "Installera Django på din egen server.",
     "Installera django på din egen server.", {"keep": ["Django"]}),
    ("max_chars", "da", "Save the changes and close the window.", "Gem ændringer og luk vinduet.",
     "Gem alle ændringerne, og luk derefter vinduet igen.", {"max_chars": 30}),
    ("max_chars", "ja", "Save the changes and close the window.", "変更を保存して閉じる。",
     "すべての変更内容を保存して、ウィンドウを閉じてください。",
     {"max_chars": 15}),
    ("register", "de", "Please enter your name and your password.", "Bitte geben Sie Ihren Namen und Ihr Passwort ein.",
     "Bitte gib deinen Namen und dein Passwort ein.", {"register": "formal"}),
    ("register", "fr", "You can change your password here.", "Tu peux changer ton mot de passe ici.",
     "Vous pouvez changer votre mot de passe ici.", {"register": "informal"}),
    ("register", "es", "Can you confirm your new address?", "¿Puede usted confirmar su nueva dirección?",
     "¿Puedes confirmar tu nueva dirección?", {"register": "formal"}),
    ("register", "it", "You can change your password here.", "Qui puoi cambiare la tua password di accesso.",
     "Prego, qui Lei può cambiare la Sua parola d'ordine.", {"register": "informal"}),
    ("register", "nl", "You can change your password here.", "Hier kunt u uw wachtwoord wijzigen.",
     "Hier kun je jouw wachtwoord wijzigen.", {"register": "formal"}),
    ("register", "ru", "Enter your password in this field.", "Введите ваш пароль в это поле.", "Введи твой пароль в это поле.",
     {"register": "formal"}),
    ("register", "pl", "You can change your password here.", "Możesz zmienić swoje hasło tutaj.",
     "Tutaj może Pan zmienić swoje hasło.", {"register": "informal"}),
    ("register", "zh_Hans", "You can change your password here.", "您可以在此处更改密码。",
     "你可以在此处更改密码。", {"register": "formal"}),
    ("quotes", "de", 'Press the "Save" button to go on.', "Drücken Sie auf „Speichern“, um fortzufahren.",
     "Drücken Sie auf Speichern, um fortzufahren.", {}),
    ("quotes", "fr", "The field “name” may not be empty.", "Le champ « nom » ne doit pas être vide.",
     "Le champ nom ne doit pas être vide.", {}),
    ("capitals", "es", "The file could not be saved.", "No se pudo guardar el archivo.", "no se pudo guardar el archivo.", {}),
    ("capitals", "uk", "The file could not be saved.", "Не вдалося зберегти файл.", "НЕ ВДАЛОСЯ ЗБЕРЕГТИ ФАЙЛ.", {}),
    ("length", "nb", "The file could not be saved because the disk is full.",
     "Filen kunne ikke lagres fordi disken er full.", "Ikke lagret.", {}),
    ("language", "ro", "The file could not be saved because the disk is full.",
     "Fișierul nu a putut fi salvat deoarece discul este plin.",
     "Le fichier n'a pas pu être enregistré car le disque est plein.", {}),
    ("language", "is", "The file could not be saved because the disk is full.",
     "Ekki var hægt að vista skrána því diskurinn er fullur.", "The file could not be stored since the disk has no space.", {}),
    ("untranslated", "pt", "Open the settings of your account and change the password now.",
     "Abra as definições da sua conta e altere já a palavra-passe.",
     "Abra as definições da sua conta e change the password now.", {}),
    ("translation_only", "fi", "The file could not be saved.", "Tiedostoa ei voitu tallentaa.",
     "Translation: Tiedostoa ei voitu tallentaa.", {}),
    ("repetition", "da", "The file could not be saved because the disk is full.",
     "Filen kunne ikke gemmes, fordi disken er fuld.",
     "Filen filen filen kunne kunne kunne ikke ikke ikke gemmes gemmes gemmes.", {}),
    ("zero_width", "cs", "The file could not be saved.", "Soubor se nepodařilo uložit.",
     "Soubor se nepo\u200bdařilo uložit.", {}),
    ("bidi", "it", "The file could not be saved.", "Impossibile salvare il file.", "Impossibile \u202esalvare il file.", {}),
    ("homoglyphs", "es", "The file could not be saved.", "No se pudo guardar el archivo.",
     "No se pudo guardar el аrchivo.", {}),
    ("homoglyphs", "ru", "The file could not be saved.", "Не удалось сохранить файл.", "Не удалось coхранить файл.", {}),
]  # fmt: skip
CASES = [pytest.param(*case, id=f"{case[0]}-{case[1]}-{number}") for number, case in enumerate(GOLD)]


def test_the_table_is_large_enough() -> None:
    assert len(GOLD) >= 40
    assert len({case[1] for case in GOLD}) >= 8
    assert {case[0] for case in GOLD} == set(RULES) - {"similarity"}


@pytest.mark.parametrize(("rule", "target", "source", "right", "wrong", "facts"), CASES)
def test_right_passes_and_wrong_fails(rule: str, target: str, source: str, right: str, wrong: str, facts: dict[str, Any]) -> None:
    good, bad = (judge(source, response, target, **facts) for response in (right, wrong))
    assert (good.passed, good.flags, good.parts[rule]) == (True, (), 1.0), good
    assert bad.passed is False
    assert bad.parts[rule] < RULES[rule].met_from
    assert good.score is not None
    assert bad.score is not None
    assert bad.score < good.score


@pytest.mark.parametrize(
    ("target", "source", "response"),
    [
        ("de", "Python 3.10 is needed.", "Python 3.10 wird benötigt."),
        ("de", "You may 5 times try again.", "Du darfst es 5 Mal versuchen."),
        ("fr", "Cell A$1 holds the sum of it all.", "La cellule A$1 contient la somme de tout."),
        ("es", "# of items in the whole list", "Cantidad de elementos en toda la lista"),
        ("sv", "%(count)s total", "%(count)s totalt"),
        ("zh_Hans", "Firefox and Thunderbird", "Firefox 与 Thunderbird 的区别"),
        ("pl", "Use “flatpages/contact_page.html” or “flatpages/default.html” there.",
         "Użyj tam „flatpages/contact_page.html” albo „flatpages/default.html”."),
    ],
)  # fmt: skip
def test_what_looks_wrong_but_is_right(target: str, source: str, response: str) -> None:
    verdict = judge(source, response, target)
    assert verdict.passed is True, verdict
    assert not {"dates", "number_format", "units", "markdown"} & set(verdict.parts)


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        ("Der Vertrag endet am 05.03.2024.", 1.0),
        ("Der Vertrag endet am 2024-03-05.", 1.0),
        ("Der Vertrag endet am 5.3.2024.", 1.0),
        ("Der Vertrag endet am 03/05/2024.", 0.5),
        ("Der Vertrag endet bald.", 0.0),
    ],
)
def test_a_date_in_another_form_is_half_right(response: str, expected: float) -> None:
    assert judge("The contract ends on March 5, 2024.", response, "de").parts["dates"] == expected


def test_partial_credit_of_terms() -> None:
    facts = {"glossary": {"file": "Datei", "folder": "Ordner", "printer": "Drucker"}}
    half = judge("Move the file into the folder.", "Verschieben Sie die Datei in das Verzeichnis.", "de", **facts)
    assert half.parts["glossary"] == 0.5
    assert "folder as Ordner" in half.reason
    assert "glossary" not in judge("Nothing was found here.", "Hier wurde nichts gefunden.", "de", **facts).parts


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"glossary": ["file"]}, "glossary"),
        ({"glossary": {"file": 5}}, "glossary"),
        ({"glossary": {"file": " "}}, "glossary"),
        ({"keep": "Django"}, "keep"),
        ({"keep": [""]}, "keep"),
        ({"max_chars": "20"}, "max_chars"),
        ({"max_chars": 0}, "max_chars"),
        ({"max_chars": True}, "max_chars"),
        ({"register": "rude"}, "register"),
    ],
)
def test_malformed_facts_are_invalid(facts: dict[str, Any], name: str) -> None:
    verdict = judge("The file is empty.", "Die Datei ist leer.", "de", **facts)
    assert verdict.score is None
    assert verdict.reason.startswith(f"meta '{name}"), verdict.reason
