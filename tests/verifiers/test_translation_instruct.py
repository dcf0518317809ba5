"""Pairs become instructions that their human translations follow; and human translations of catalogues pass the rules."""

import random

import pytest

from tower_rl.config.schema import CatalogueSource
from tower_rl.data import catalogue
from verifiers import Task, load, verify
from verifiers.translation import RULES, Facts, Segment, instruction
from verifiers.translation.instruct import MOST_RULES, instruct

VERIFIER = load("translation_rules", rules=[name for name in RULES if name != "similarity"])
SOURCE = (
    "Pay $1,234.50 for %(count)s <b>files</b> by March 5, 2024, see [“help”](https://example.org/en/) of Firefox Sync. "
    "You keep every file."
)
HUMAN = (
    "Bezahlen Sie bis zum 5. März 2024 für %(count)s <b>Dateien</b> 1.234,50 $, siehe [„Hilfe“](https://example.org/de/) von "
    "Firefox Sync. Sie behalten jede Datei."
)
GLOSSARY = {"file": "Datei", "folder": "Ordner"}
SAID = {
    "placeholders": "%(count)s", "tags": "tags", "urls": "https://example.org/en/", "markdown": "Markdown",
    "numbers": "all numbers",
    "number_format": "decimal comma", "units": "currencies", "dates": "dates and times", "glossary": '"file" as "Datei"',
    "keep": "Firefox Sync", "max_chars": "characters", "register": "formal", "quotes": "„ “", "untranslated": "untranslated",
    "translation_only": "translation only",
}  # fmt: skip


def test_every_instruction_is_drawn_and_the_human_translation_follows_it() -> None:
    seen = set()
    for seed in range(60):
        made = instruct(SOURCE, HUMAN, "en", "de", seed, GLOSSARY)
        assert made is not None
        prompt, meta = made
        said = {name for name, words in SAID.items() if words in prompt.removesuffix(SOURCE)}
        assert 1 <= len(said - {"translation_only"}) <= MOST_RULES
        assert "translation_only" in said
        assert prompt.endswith(SOURCE)
        assert set(meta) - {"source", "source_lang", "target_lang"} <= said
        (verdict,) = verify(VERIFIER, [Task(prompt, HUMAN, meta=meta)])
        assert verdict.passed, verdict
        seen |= said
    assert seen == set(SAID)


def test_what_has_an_instruction_is_in_the_table_and_says_what_is_checked() -> None:
    facts = Facts(glossary=GLOSSARY, keep=["Firefox Sync"], max_chars=300, register="formal")
    asking = Segment(SOURCE, "", "en", "de", facts=facts)
    assert {name for name, rule in RULES.items() if rule.instruction(asking)} == set(SAID)
    assert all(words in instruction(asking) for words in SAID.values())
    assert instruction(asking, ["tags"]) == "Translate the following text from English into German. Keep the markup tags."


def test_the_same_seed_draws_the_same() -> None:
    assert instruct(SOURCE, HUMAN, "en", "de", 7) == instruct(SOURCE, HUMAN, "en", "de", 7)


def test_a_translation_that_breaks_the_rules_makes_no_instruction() -> None:
    assert instruct(SOURCE, "Here is the translation: " + HUMAN, "en", "de", 0) is None


@pytest.mark.parametrize("language", ["de", "fi", "fr", "ja", "pt_BR", "ru"])
def test_human_translations_of_a_catalogue_pass(language: str) -> None:
    source = CatalogueSource(kind="catalogue", languages=[language], verifier="translation_rules", max_words=60)
    rows = random.Random(0).sample(catalogue.rows("django", source), 100)
    passed = 0
    for seed, row in enumerate(rows):
        made = instruct(row.meta["source"], str(row.reference), "en", language, seed)
        (verdict,) = VERIFIER.verify([Task("", str(row.reference), meta=made[1] if made else row.meta)])
        passed += made is not None and verdict.passed is True
    assert passed >= 94, f"{passed} of 100"
