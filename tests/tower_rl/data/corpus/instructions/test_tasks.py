"""What the tasks ask and answer, over made-up texts and Django's catalogues."""

import random
import re
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.config.corpora import ParallelTasks
from tower_rl.data.corpus.instructions import flaws
from tower_rl.data.corpus.instructions.convert import to_instructions
from tower_rl.data.corpus.instructions.flaws import MAKERS, find_flaws, with_flaws
from tower_rl.data.corpus.instructions.glossary import build_glossary
from tower_rl.data.corpus.instructions.pair import Pair, Term
from tower_rl.data.corpus.instructions.tasks import CATEGORIES, NO_ERRORS, TASKS

LINE = re.compile(r'"(?P<span>.+)": (?P<category>[a-z/]+), (?P<severity>minor|major|critical)')
TEXTS = st.text(st.characters(codec="utf-8") | st.sampled_from("{}%<>$ab 12.\n"), min_size=1, max_size=80)


@pytest.fixture(scope="module")
def of(catalogues):
    """Pairs of the catalogues and what a task makes of them: (original, translation, language, user, assistant)."""
    glossary = build_glossary(catalogues)
    rows = catalogues.to_pylist()

    def examples(task):
        done = to_instructions(catalogues, ParallelTasks(tasks={task: 1.0}), 5, glossary).to_pylist()
        assert len(done) == len(rows)
        for row, chat in zip(rows, done, strict=True):
            if chat["id"].endswith(f"#{task}"):
                texts = row["original"].strip(), row["translation"].strip()
                source, translation = texts if chat["language"].startswith("en-") else texts[::-1]
                yield source, translation, chat["language"], chat["messages"][0]["content"], chat["messages"][1]["content"]

    return examples


@pytest.mark.parametrize("task", TASKS)
@settings(max_examples=150, deadline=None)
@given(source=TEXTS, translation=TEXTS, seed=st.integers(0, 2**32), target=st.sampled_from(["de", "ja", "ru"]))
def test_any_text_goes_through_as_it_is(task, source, translation, seed, target):
    pair = Pair("x", "en", target, source, translation, (Term(source, 0, translation, 0),), "{other} %s")
    example = TASKS[task](pair, random.Random(seed))
    if example is not None:
        assert source in example.user
        if task in ("translate", "post_edit", "terminology", "formality"):
            assert example.assistant == translation
        if task == "choose_better":
            assert translation in example.user


def test_post_edits_change_the_reference_and_want_it_back(of):
    found = list(of("post_edit"))
    assert len(found) > 500
    for source, translation, _, user, assistant in found:
        assert assistant == translation
        flawed = re.search(r"\nMT\n(.*)\nPE\n\Z|\nTranslation: (.*)\Z", user.replace(source, "", 1), re.DOTALL)
        if flawed:
            assert (flawed[1] or flawed[2]).split() != translation.split()
    assert sum("\nMT\n" in user for *_, user, _ in found) > 50


def test_error_spans_stand_where_they_are_said_to_be(of):
    clean = total = 0
    categories = Counter()
    for source, translation, _, user, assistant in of("error_spans"):
        total += 1
        if assistant == NO_ERRORS:
            clean += 1
            assert translation in user
            continue
        for line in assistant.split("\n"):
            match = LINE.fullmatch(line)
            assert match and match["category"] in CATEGORIES.split(", ")
            categories[match["category"]] += 1
            assert match["span"] in user
            if match["category"] == "accuracy/omission":
                assert match["span"] in source
            if match["category"] == "accuracy/addition":
                assert match["span"] not in translation
    assert total > 500 and abs(clean / total - 0.25) < 0.05
    assert set(categories) == set(CATEGORIES.split(", "))


def test_the_reference_is_a_as_often_as_b(of):
    answers = Counter(assistant for *_, assistant in of("choose_better"))
    assert set(answers) == {"A", "B"} and answers.total() > 500
    assert abs(answers["A"] / answers.total() - 0.5) < 4 * 0.5 / answers.total() ** 0.5


@pytest.mark.parametrize(
    "template, split",
    [("A: {}\n\nB: {}", r"\n\nA: (.*)\n\nB: (.*)\Z"), ("[A]\n{}\n[B]\n{}", r"\[A\]\n(.*)\n\[B\]\n(.*)\nThe better one")],
)
def test_the_better_one_is_the_reference(of, template, split):
    found = 0
    for _, translation, _, user, assistant in of("choose_better"):
        match = re.search(split, user, re.DOTALL)
        if match:
            found += 1
            assert match.group("AB".index(assistant) + 1) == translation
            assert match.group("BA".index(assistant) + 1) != translation
    assert found > 50


def test_terms_stand_on_both_sides(of):
    found = 0
    for source, translation, _, user, assistant in of("terminology"):
        assert assistant == translation
        rest = user.replace(source, "", 1)
        entries = re.findall(r'^(?:- (.+) → (.+)|"(.+)": "(.+)"|([^=\n]+) = (.+))$', rest, re.MULTILINE)
        assert 1 <= len(entries) <= 3
        for entry in entries:
            term, wanted = (part for part in entry if part)
            assert term in source and wanted in translation
            found += 1
    assert found > 300


def test_the_register_asked_for_is_that_of_the_translation():
    def asked(language, translation):
        example = TASKS["formality"](Pair("x", "en", language, "Open your file.", translation), random.Random(0))
        return example and re.search(r"\b(in)?formal", example.user).group()

    assert asked("de", "Bitte öffnen Sie Ihre Datei.") == "formal"
    assert asked("de", "Öffne deine Datei.") == "informal"
    assert asked("fr", "Ouvrez votre fichier.") == "formal"
    assert asked("ru", "Откройте ваш файл.") == "formal"
    assert asked("zh_Hans", "请打开你的文件。") == "informal"
    assert asked("de", "Datei öffnen") is None
    assert asked("fr", "Je peux ouvrir le fichier.") is None  # a first person that looks like an address
    assert asked("ro", "Câmpul trebuie să fie unic.") is None
    assert asked("ru", "Файл на сайте.") is None
    assert asked("ja", "ファイルを開いてください。") is None  # politeness, not an address
    assert asked("en", "Open your file.") is None


def test_each_flaw_by_hand():
    choice = random.Random(1)
    pair = Pair("x", "en", "de", "Page %(n)s of 12. Go on.", "Seite %(n)s von 12. Weiter geht es.")
    assert with_flaws(pair.translation, [flaws.lost_mark(pair, choice)]) == "Seite von 12. Weiter geht es."
    assert with_flaws(pair.translation, [flaws.torn_mark(pair, choice)]) == "Seite % (n)s von 12. Weiter geht es."
    assert with_flaws(pair.translation, [flaws.doubled_mark(pair, choice)]) == "Seite %(n)s %(n)s von 12. Weiter geht es."
    wrong = with_flaws(pair.translation, [flaws.wrong_number(pair, choice)])
    assert re.fullmatch(r"Seite %\(n\)s von (?!12)\d\d\. Weiter geht es\.", wrong)
    lost = {(with_flaws(pair.translation, [flaw]), flaw.span) for flaw in (flaws.lost_segment(pair, choice) for _ in range(20))}
    assert lost == {("Seite %(n)s von 12.", "Go on."), ("Weiter geht es.", "Page %(n)s of 12.")}
    copied = {with_flaws(pair.translation, [flaws.untranslated_segment(pair, choice)]) for _ in range(20)}
    assert copied == {"Page %(n)s of 12. Weiter geht es.", "Seite %(n)s von 12. Go on."}
    twice = {with_flaws(pair.translation, [flaws.repeated_segment(pair, choice)]) for _ in range(20)}
    assert "Seite %(n)s von 12. Weiter geht es. Weiter geht es." in twice
    assert flaws.untranslated_term(pair, choice) is None
    short = with_flaws(pair.translation, [flaws.cut_short(pair, choice)])
    assert pair.translation.startswith(short) and short != pair.translation


def test_terms_of_a_glossary_go_wrong():
    pair = Pair("x", "en", "de", "Open the File now", "Die Datei jetzt öffnen", (Term("File", 9, "Datei", 4),), "ordner")
    choice = random.Random(1)
    assert with_flaws(pair.translation, [flaws.untranslated_term(pair, choice)]) == "Die File jetzt öffnen"
    assert with_flaws(pair.translation, [flaws.wrong_term(pair, choice)]) == "Die Ordner jetzt öffnen"


def test_an_abbreviation_ends_no_sentence():
    pair = Pair("x", "en", "de", "Use e.g. this one. Stop.", "Nimm z.B. dieses. Stopp.")
    spans = {flaw.span for flaw in (flaws.lost_segment(pair, random.Random(seed)) for seed in range(20))}
    assert spans == {"Use e.g. this one.", "Stop."}


def test_few_words_get_no_flaw():
    assert find_flaws(Pair("x", "en", "de", "Change password", "Passwort ändern"), MAKERS, 2, random.Random(0)) == []


@pytest.mark.timeout(10)
@pytest.mark.parametrize(
    "text", ["a" + " " * 200_000 + "b", "." * 200_000, "% " * 50_000, "<a" * 50_000, "a, " * 50_000, "1" * 200_000]
)
def test_odd_long_texts_take_no_long_time(text):
    for seed in range(3):
        with_flaws(text, find_flaws(Pair("x", "en", "de", text, text), MAKERS, 2, random.Random(seed)))
