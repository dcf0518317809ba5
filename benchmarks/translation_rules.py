"""How often human work passes the translation rules: `python benchmarks/translation_rules.py [PACKAGE ...]`, django by default.

A seeded sample of the human translations in the packages' gettext catalogues is judged as responses, by every rule but
similarity and without a reference, with the facts of an instruction made from the pair; no instruction counts as not passed.
Prints the share that passes by language and by rule, and examples of what fails.
"""

import random
import sys
from collections import Counter, defaultdict

from tower_rl.config.schema import CatalogueSource
from tower_rl.data import catalogue
from tower_rl.data.languages import LANGUAGE_NAMES
from tower_rl.data.rows import DataError, Row
from verifiers import Task, load
from verifiers.translation import RULES
from verifiers.translation.instruct import instruct

SEGMENTS = 20_000
MAX_WORDS = 400
EXAMPLES = 8


def main(*packages: str) -> None:
    """Judge and report."""
    rows = [row for package in packages or ("django",) for language in LANGUAGE_NAMES for row in _rows(package, language)]
    rows = random.Random(0).sample(rows, min(SEGMENTS, len(rows)))
    verifier = load("translation_rules", rules=[name for name in RULES if name != "similarity"])
    languages: defaultdict[str, Counter[bool | None]] = defaultdict(Counter)
    rules: defaultdict[str, Counter[bool]] = defaultdict(Counter)
    failures: defaultdict[str, list[str]] = defaultdict(list)
    glossaries = _glossaries(rows)
    for seed, row in enumerate(rows):
        source = row.meta["source"]
        terms = {term: wanted for term, wanted in glossaries[row.meta["target_lang"]].items() if term in source.casefold()}
        made = instruct(source, str(row.reference), "en", row.meta["target_lang"], seed, terms)
        (verdict,) = verifier.verify([Task("", str(row.reference), meta=made[1] if made else row.meta)])
        languages[row.meta["target_lang"]][bool(made) and verdict.passed] += 1
        for name, score in verdict.parts.items():
            met = score >= RULES[name].met_from
            rules[name][met] += 1
            if not met:
                failures[name].append(f"{row.meta['target_lang']}: {source!r} -> {row.reference!r} ({verdict.reason})")
    passed = sum(count[True] for count in languages.values())
    print(f"{passed} of {len(rows)} pass: {passed / len(rows):.2%}\n\n| language | segments | pass |\n|---|---|---|")
    for language, count in sorted(languages.items()):
        print(f"| {language} | {count.total()} | {count[True] / count.total():.1%} |")
    print("\n| rule | applies | met |\n|---|---|---|")
    for name, met in rules.items():
        print(f"| {name} | {met.total()} | {met[True] / met.total():.2%} |")
    for name, examples in sorted(failures.items(), key=lambda item: -len(item[1])):
        print(f"\n{name}, {len(examples)} times:", *random.Random(0).sample(examples, min(EXAMPLES, len(examples))), sep="\n  ")


def _glossaries(rows: list[Row]) -> defaultdict[str, dict[str, str]]:
    """By language, the translations of the two-word sources: terms that longer segments have, or have not, in another form."""
    found: defaultdict[str, dict[str, str]] = defaultdict(dict)
    for row in rows:
        if len(row.meta["source"].split()) == 2 and row.meta["source"].replace(" ", "").isalpha():
            found[row.meta["target_lang"]][row.meta["source"].casefold()] = str(row.reference)
    return found


def _rows(package: str, language: str) -> list[Row]:
    source = CatalogueSource(
        kind="catalogue", package=package, languages=[language], verifier="translation_rules", max_words=MAX_WORDS
    )
    try:
        return catalogue.rows(package, source) if language != "en" else []
    except DataError:
        return []  # a language that the package lacks


if __name__ == "__main__":
    main(*sys.argv[1:])
