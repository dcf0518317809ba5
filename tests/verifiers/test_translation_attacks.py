"""Tricks that a policy finds under translation_rules: each costs, carries a flag, and is a gate where the options say so."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict, load, verify
from verifiers.registry import WrongOption
from verifiers.translation import FLAGS, languages

VERIFIER = load("translation_rules")
SOURCE = "Open the file %s in the folder, delete 3 lines and then save the <b>file</b>."
GOOD = "Öffnen Sie die Datei %s im Ordner, löschen Sie 3 Zeilen und speichern Sie dann die <b>Datei</b>."
MIXED = "Öffnen Sie die Datei %s im Ordner, delete 3 lines and then save die <b>Datei</b>."
GLOSSARY = {"file": "Datei", "folder": "Ordner", "line": "Zeile"}


def judge(response: str, verifier: Any = VERIFIER, target: str = "de", source: str = SOURCE, **facts: Any) -> Verdict:
    meta = {"source": source, "source_lang": "en", "target_lang": target, **facts}
    (verdict,) = verify(verifier, [Task("", response, meta=meta)])
    return verdict


ATTACKS = {
    "empty": " \u200b\n",
    "far_too_long": GOOD * 60,
    "copied_source": SOURCE,
    "wrong_language": "Ouvrez le fichier %s dans le dossier, supprimez 3 lignes et enregistrez ensuite le <b>fichier</b>.",
    "mixed_language": MIXED,
    "extra_text": "Here is the translation: " + GOOD,
    "repeated_text": "%s 3 <b>Datei</b> " + "Datei Ordner " * 12,
    "glossary_dump": "Öffnen Sie das Element %s darin, löschen Sie 3 davon und sichern Sie es <b>dann</b>. Datei, Ordner, Zeile",
    "zero_width": GOOD.replace("Datei", "Da\u200btei"),
    "bidi": "\u202e" + GOOD,
    "homoglyphs": GOOD.replace("Ordner", "Оrdnеr"),
}


def test_every_flag_is_shown() -> None:
    assert set(ATTACKS) == set(FLAGS)
    good = judge(GOOD, glossary=GLOSSARY)
    assert (good.passed, good.flags, good.score) == (True, (), 1.0), good


@pytest.mark.parametrize("flag", FLAGS)
def test_each_flag_costs_and_is_a_gate_by_option(flag: str) -> None:
    open_gate = judge(ATTACKS[flag], glossary=GLOSSARY)
    assert flag in open_gate.flags
    assert open_gate.passed is False
    assert open_gate.score is not None
    assert open_gate.score < 0.95
    closed = judge(ATTACKS[flag], load("translation_rules", gates={flag: 0.0}), glossary=GLOSSARY)
    assert (closed.score, closed.passed, closed.flags) == (0.0, False, open_gate.flags)
    half = judge(ATTACKS[flag], load("translation_rules", gates={flag: 0.5}), glossary=GLOSSARY)
    assert half.score == pytest.approx(open_gate.score / 2)


@pytest.mark.parametrize("options", [{"gates": {"odd": 0.0}}, {"gates": {"bidi": 1.0}}, {"gates": {"bidi": -0.1}}])
def test_wrong_gates_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(WrongOption, match="gates"):
        load("translation_rules", **options)


@pytest.mark.parametrize(
    ("name", "response", "rule"),
    [
        ("placeholder twice", GOOD.replace("%s", "%s %s"), "placeholders"),
        ("zero width in a placeholder", GOOD.replace("%s", "%\u200bs"), "placeholders"),
        ("look-alike in a tag", GOOD.replace("<b>", "<Ь>"), "tags"),
        ("tags swapped", GOOD.replace("<b>Datei</b>", "</b>Datei<b>"), "tags"),
        ("numbers in a row at the end", GOOD.replace("3", "5") + " 1 2 3 4", "numbers"),
        ("explanation", GOOD + "\n\nNote: the formal address is used.", "translation_only"),
        ("two versions", GOOD + "\n" + GOOD, "translation_only"),
        ("the source after the translation", GOOD + " " + SOURCE, "translation_only"),
        ("a third of it", "Öffnen Sie die Datei %s.", "length"),
        ("transliteration", "Otkrojte fajl %s w papke, udalite 3 stroki i sochranite <b>fajl</b>.", "language"),
        ("terms stuffed", GOOD.replace("Ordner", "Ordner Datei Datei Datei Datei Datei"), "glossary"),
        (
            "terms in brackets at the end",
            GOOD.replace("Datei", "Sache").replace("Ordner", "Fach") + " (Datei, Ordner)",
            "glossary",
        ),
        ("shouting", GOOD.upper().replace("%S", "%s").replace("<B>", "<b>").replace("</B>", "</b>"), "capitals"),
    ],
)
def test_tricks_fail_by_a_rule(name: str, response: str, rule: str) -> None:
    target = "ru" if name == "transliteration" else "de"
    verdict = judge(response, target=target, glossary={} if target == "ru" else GLOSSARY)
    assert verdict.passed is False, name
    assert verdict.parts[rule] < 1.0, (name, verdict)


def test_a_list_of_terms_is_right_where_the_source_has_one() -> None:
    source = "The following are deleted: files, folders"
    verdict = judge("Folgendes wird gelöscht: Dateien, Ordner", source=source, glossary=GLOSSARY)
    assert (verdict.passed, verdict.flags) == (True, ()), verdict


def test_a_mixed_text_lies_between_a_copy_and_a_translation() -> None:
    scores = [judge(text).score or 0.0 for text in (SOURCE, MIXED, GOOD)]
    assert scores[0] + 0.1 < scores[1] < scores[2] - 0.1, scores


def test_joiners_belong_to_some_scripts() -> None:
    assert "zero_width" not in judge("फ़ाइल\u200c सहेजी नहीं जा सकी।", target="hi", source="The file could not be saved.").flags


HOSTILE = [*ATTACKS.values(), "`" * 20_000, "[](" * 20_000, "% " * 45_000, "<b>" * 30_000, "**" * 20_000, "1. " * 20_000,
           "5 March " * 8_000, "1/1/2024 " * 6_000, "Datei, " * 9_000, "«" * 50_000, "'a" * 30_000, "1:11 " * 12_000, 
           "$1 " * 20_000, "www." * 15_000]  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE[len(ATTACKS) :], ids=lambda text: text[:8].strip())
def test_hostile_texts_are_judged_in_time(text: str) -> None:
    source = SOURCE + " On March 5, 2024 at 3:30 PM pay $5, see `x` and [y](z) at www.example.org 'now'." * 60
    (verdict,) = verify(
        VERIFIER, [Task("", text, meta={"source": source, "source_lang": "en", "target_lang": "de", "glossary": GLOSSARY})]
    )
    assert verdict.status is Status.SCORED
    assert verdict.seconds < 5


PIECES = [*HOSTILE[: len(ATTACKS)], "March 5, 2024", "31.12.2024", "3:30 PM", "$5", "20 MB", "`", "**", "](", "„", "'", "\u202e",
          "İ", "ſ", "Datei", "file", "100%", "{n, plural, one {", "https://x.org/", "\x00", "\ud800"]  # fmt: skip


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.sampled_from(PIECES) | st.text(max_size=20), max_size=8).map(" ".join),
    st.lists(st.sampled_from(PIECES) | st.text(max_size=20), min_size=1, max_size=8).map(" ".join),
    st.sampled_from(sorted(languages.NAMES)),
    st.sampled_from(sorted(languages.NAMES)),
    st.fixed_dictionaries(
        {},
        optional={
            "glossary": st.dictionaries(st.text(max_size=9), st.text(max_size=9), max_size=3) | st.integers(),
            "keep": st.lists(st.text(max_size=9), max_size=3) | st.text(),
            "max_chars": st.integers() | st.floats(),
            "register": st.sampled_from(["formal", "informal", "rude"]) | st.none(),
        },
    ),
)
def test_any_text_and_facts_get_one_verdict(response: str, source: str, origin: str, target: str, facts: dict[str, Any]) -> None:
    meta = {"source": source, "source_lang": origin, "target_lang": target, **facts}
    verdicts = verify(VERIFIER, [Task("", response, meta=meta)] * 2)
    assert len(verdicts) == 2
    assert all("verifier error" not in verdict.reason for verdict in verdicts)
