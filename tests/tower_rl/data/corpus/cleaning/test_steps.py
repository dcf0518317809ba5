"""Steps that look at each row by itself: hand-worked rows, and laws that hold for any text."""

import time

import pytest
from corpus_rows import chat, pair, reasons, table, text
from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.config.corpora import Quality
from tower_rl.data.corpus.cleaning.language import Language
from tower_rl.data.corpus.cleaning.length import Length, untranslated
from tower_rl.data.corpus.cleaning.normalise import normalise, normalised
from tower_rl.data.corpus.cleaning.quality import Judged
from tower_rl.data.corpus.cleaning.scrub import scrub, scrubbed
from tower_rl.data.corpus.records import RECORDS

STEPS = [normalise, Length(2, 50, 3.0), untranslated, Language(0.9), scrub]
anything = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)
tricky = st.text(
    st.sampled_from("aé\u0301 \t\n\r\u200b\u200c\u200d\ufe0f\u2060\xa0ش\u094dक👩\U0001f3f4\U000e0067@.=:/%{}<>-1ก中"), max_size=30
)
some_rows = st.lists(
    st.one_of(
        st.builds(text, anything | tricky, st.sampled_from(["", "de", "ja", "xx"])),
        st.builds(pair, anything | tricky, anything | tricky, st.sampled_from(["en-de", "en-zh_Hans", "", "-"])),
        st.builds(lambda a, b: chat(a, b), anything, tricky),
        st.builds(lambda t: text(t) | {"dropped": "read: bad row", "detail": "line 3"}, anything),
    ),
    max_size=6,
)


@settings(deadline=None, max_examples=60)
@given(some_rows)
@pytest.mark.parametrize("step", STEPS, ids=lambda step: getattr(step, "__name__", type(step).__name__))
def test_steps_keep_schema_and_rows_are_idempotent_and_leave_dropped_rows_alone(step, rows):
    before = table(*rows)
    once = step(before)
    assert once.schema == RECORDS and once["id"] == before["id"]
    assert step(once) == once
    for old, new in zip(before.to_pylist(), once.to_pylist(), strict=True):
        assert new == old if old["dropped"] else True


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("e\u0301", "é"),
        ("a\r\nb\rc\u2028d", "a\nb\nc\nd"),
        ("a \t\nb  ", "a\nb"),
        ("Bonjour\xa0! 10\u202f%", "Bonjour\xa0! 10\u202f%"),  # French keeps its spaces
        ("fin\xa0", "fin\xa0"),
        ("a\u200bb\ufeffc\u00add\u2060e", "abcde"),
        ("a\x00\x07b", "ab"),
        ("Auf\u200clage", "Auflage"),
        ("می\u200cخواهم", "می\u200cخواهم"),  # Persian
        ("क्\u200dष", "क्\u200dष"),  # Hindi
        ("👩\u200d💻 👩🏽\u200d💻 ❤\ufe0f\u200d🔥", "👩\u200d💻 👩🏽\u200d💻 ❤\ufe0f\u200d🔥"),
        ("ខ្ញុំ\u200bទៅ", "ខ្ញុំ\u200bទៅ"),  # Khmer parts words so
        ("\U0001f3f4\U000e0067\U000e0062\U000e007f", "\U0001f3f4\U000e0067\U000e0062\U000e007f"),  # a flag
        ("hidden\U000e0068\U000e0069", "hidden"),
        ("abc\u200e", "abc"),
        ("שלום\u200e abc", "שלום\u200e abc"),
    ],
)
def test_normalised(raw, clean):
    assert normalised(raw) == clean


def test_normalise_reaches_every_text():
    result = normalise(table(text("a "), pair("b ", "c "), chat("d ", "e "), text("f ") | {"dropped": "x: y"})).to_pylist()
    assert [row["text"] for row in result] == ["a", "", "", "f "]
    assert (result[1]["original"], result[1]["translation"]) == ("b", "c")
    assert [message["content"] for message in result[2]["messages"]] == ["d", "e"]


def test_length():
    rows = table(
        text(" a "),
        text("ab"),
        text("x" * 51),
        pair("abcdef", "ab"),
        pair("abcdefg", "ab"),
        pair("abcd", "中文"),
        pair("abc", ""),
    )
    assert reasons(Length(2, 50, 3.0)(rows)) == [
        "length: too short", "", "length: too long", "", "length: ratio", "", "length: too short",
    ]  # fmt: skip
    assert reasons(Length(2, 5, 3.0)(table(chat("4", "5"), chat("", ""), chat("abc", "def")))) == [
        "",
        "length: too short",
        "length: too long",
    ]


def test_untranslated():
    rows = table(
        pair("Save as", "Save as"),
        pair("Save as", "Speichern"),
        pair("100 %", "100 %"),
        pair("OK", "OK", "pt-pt_BR"),
        text("Save"),
    )
    assert reasons(untranslated(rows)) == ["untranslated: copy", "", "", "", ""]


ENGLISH = "The quick brown fox jumps over the lazy dog and runs away."
GERMAN = "Der schnelle braune Fuchs springt über den faulen Hund und läuft weg."


def test_language():
    rows = table(
        text(ENGLISH, "en"), text(ENGLISH, "de"), text(ENGLISH, "ru"), text(ENGLISH, ""), text(ENGLISH, "xx"),
        pair(ENGLISH, GERMAN), pair(GERMAN, ENGLISH), pair(ENGLISH, "Server", "en-de"), pair(ENGLISH, "OK", "en-ja"),
        text("{entity_name} виявляє дим", "uk"), text("Настройка LibreOffice и Microsoft Office", "ru"),
        text(ENGLISH, "en_GB"), text("Dette er en norsk tekst om været i Oslo og Bergen.", "nb"), text(GERMAN, "zh_Hans"),
        chat(GERMAN, GERMAN, language="en"),
    )  # fmt: skip
    other, script = "language: other language", "language: other script"
    assert reasons(Language(0.9)(rows)) == ["", other, script, "", "", "", other, "", "", "", "", "", "", script, other]


@pytest.mark.parametrize(
    ("raw", "clean"),
    [
        ("Write to jane.doe+x@mail.example.com.", "Write to <EMAIL>."),
        ("例:联系我a@b.com吧", "例:联系我<EMAIL>吧"),
        ("user@163.com", "<EMAIL>"),
        ("%(name)s@%(domain)s", "%(name)s@%(domain)s"),
        ("%(name)s@example.com {user}@example.com %s@x.org", "%(name)s@example.com {user}@example.com %s@x.org"),
        (
            "icon@2x.png, pkg@1.2.0-beta.rc, @media, git@github.com:a/b",
            "icon@2x.png, pkg@1.2.0-beta.rc, @media, git@github.com:a/b",
        ),
        ("AKIAIOSFODNN7EXAMPLE", "<TOKEN>"),
        ("ghp_" + "a1B2" * 9, "<TOKEN>"),
        ("xoxb-123456789012-abcdefghij", "<TOKEN>"),
        ("sk-proj-abc123def456ghi789jkl", "<TOKEN>"),
        ("sk-slovensky-jazyk-je-pekny-jazyk", "sk-slovensky-jazyk-je-pekny-jazyk"),
        ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcDEF123_-x", "<TOKEN>"),
        ("https://user:hunter2@host/x", "https://user:<PASSWORD>@host/x"),
        ("https://host/?q=1&password=hunter2&x=2", "https://host/?q=1&password=<PASSWORD>&x=2"),
        ("https://host/?token={token}&password=%s", "https://host/?token={token}&password=%s"),
        ("aws_secret_access_key = " + "a" * 40, "aws_secret_access_key = <TOKEN>"),
        ("-----BEGIN RSA PRIVATE KEY-----\nMIIE\nabc=\n-----END RSA PRIVATE KEY-----", "<PRIVATE_KEY>"),
        ("The line -----BEGIN PRIVATE KEY----- starts a key.", "The line -----BEGIN PRIVATE KEY----- starts a key."),
        ("Your password is wrong", "Your password is wrong"),
    ],
)
def test_scrubbed(raw, clean):
    assert scrubbed(raw)[0] == clean


def test_scrub_keeps_rows_and_counts():
    rows = [chat("I am a@b.com and c@d.org", "sk-abc123def456ghi789jkl0"), text("e@f.de") | {"dropped": "x: y"}, text("none")]
    result = scrub(table(*rows)).to_pylist()
    assert [row["detail"] for row in result] == ["scrubbed: 2 e-mail, 1 token", "", ""]
    assert result[1]["text"] == "e@f.de"


@pytest.mark.parametrize(
    "piece", ["a@", "a.", "a@a.", "a-", "eyJa", "://a:", "-----BEGIN PRIVATE KEY-----", "?secret=", "sk-", "\u200d"]
)
def test_hostile_repetition_is_quick(piece):
    begin = time.perf_counter()
    scrubbed(normalised(piece * (200_000 // len(piece))))
    assert time.perf_counter() - begin < 3


def test_quality():
    step = Judged(Quality(use="corpus_rows:Picky", minimum=0.5))
    rows = table(text("long enough"), text("no"), text("boom"), pair("original", "ok"), text("x") | {"dropped": "a: b"})
    result = step(rows)
    assert reasons(result) == ["", "quality: low score", "", "quality: low score", "a: b"]
    assert result["detail"][2].as_py() == "unjudged: verifier error: ValueError: boom"


def test_quality_judges_the_last_answer_of_a_chat_by_a_real_verifier():
    step = Judged(Quality(use="language", minimum=0.5))
    rows = table(
        pair(ENGLISH, GERMAN), pair(ENGLISH, ENGLISH), chat(ENGLISH, GERMAN, ENGLISH, GERMAN, language="de"), text(ENGLISH, "de")
    )
    assert reasons(step(rows)) == ["", "quality: low score", "", "quality: low score"]
