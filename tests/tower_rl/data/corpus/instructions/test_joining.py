"""Documents, pivots and glossaries: what belongs together, and what does not."""

from collections import Counter, defaultdict

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.data.corpus.instructions import documents, pivots
from tower_rl.data.corpus.instructions.glossary import NO_TERMS, build_glossary, occurring, short_pairs
from tower_rl.data.corpus.instructions.tables import BUCKET
from tower_rl.data.corpus.records import RECORDS


def segments(document, positions, language="en-de", corpus="c"):
    return [
        {
            "id": f"{corpus}/{document}/{language}/{position}",
            "corpus": corpus,
            "language": language,
            "original": f"o{position}",
            "translation": f"t{position}",
            "document": document,
            "position": position,
        }
        for position in positions
    ]


def test_neighbours_are_joined_up_to_the_limit_and_never_across_a_gap_or_a_document(table):
    rows = [*segments("a", [*range(40), *range(45, 60)]), *segments("b", range(60, 90)), *segments("a", range(20), "en-fr")]
    joined = documents.join(documents.keyed(table(rows), 1), 4, 0)
    assert joined.schema.equals(RECORDS)
    lengths = Counter()
    seen = []
    for row in joined.to_pylist():
        positions = [int(line[1:]) for line in row["original"].split("\n")]
        assert [int(line[1:]) for line in row["translation"].split("\n")] == positions
        assert positions == list(range(positions[0], positions[-1] + 1)) and positions[0] == row["position"]
        seen += [(row["document"], row["language"], position) for position in positions]
        lengths[len(positions)] += 1
    assert sorted(seen) == sorted((row["document"], row["language"], row["position"]) for row in rows)
    assert set(lengths) == {1, 2, 3, 4}
    assert len(set(joined["id"].to_pylist())) == joined.num_rows


@settings(max_examples=60, deadline=None)
@given(
    positions=st.lists(st.integers(0, 30), unique=True, max_size=31),
    most=st.integers(1, 5),
    buckets=st.integers(1, 7),
    order=st.randoms(use_true_random=False),
)
def test_joins_are_the_same_for_any_order_and_any_buckets(table, positions, most, buckets, order):
    rows = [*segments("a", positions), *segments("b", positions), *segments("", [1, 2], corpus="loose")]
    order.shuffle(rows)
    keyed = documents.keyed(table(rows), buckets)
    assert keyed.num_rows == 2 * len(positions) and documents.not_keyed(table(rows)).num_rows == 2
    parts = [
        documents.join(keyed.filter(pa.array([b == bucket for b in keyed[BUCKET].to_pylist()], pa.bool_())), most, 1)
        for bucket in range(buckets)
    ]
    whole = documents.join(documents.keyed(table(sorted(rows, key=lambda row: row["id"])), 1), most, 1)
    assert pa.concat_tables(parts).sort_by("id").equals(whole.sort_by("id"))
    assert all(len(text.split("\n")) <= most for text in whole["original"].to_pylist())


def test_dropped_rows_are_not_joined_and_leave_a_gap(table):
    rows = segments("a", range(9))
    rows[4]["dropped"] = "cleaning: x"
    joined = documents.join(documents.keyed(table(rows), 1), 9, 0)
    assert all("o4" not in text and not ("o3" in text and "o5" in text) for text in joined["original"].to_pylist())
    assert documents.not_keyed(table(rows))["id"].to_pylist() == [rows[4]["id"]]


def test_a_position_that_stands_twice_joins_nothing_to_itself(table):
    rows = segments("a", [1, 1, 2])
    rows[1]["id"] += "b"
    joined = documents.join(documents.keyed(table(rows), 1), 3, 0)
    assert all(text.count("o1") == 1 for text in joined["original"].to_pylist() if "o1" in text)


def translations(original, corpus="c", **by_language):
    return [
        {
            "id": f"{corpus}/{language}/{original}",
            "corpus": corpus,
            "language": f"en-{language}",
            "original": original,
            "translation": text,
        }
        for language, text in by_language.items()
    ]


def test_two_translations_of_one_original_are_a_pair(table):
    rows = table(translations("Save", de="Speichern", fr="Enregistrer"))
    extra = pivots.pivot(pivots.keyed(rows, 1), 5, 0)
    assert extra.schema.equals(RECORDS)
    assert [(row["id"], row["language"], row["original"], row["translation"]) for row in extra.to_pylist()] == [
        ("c/de/Save+c/fr/Save", "de-fr", "Speichern", "Enregistrer")
    ]


def test_what_makes_no_pivot(table):
    rows = [
        *translations("Order", de="Ordnung", fr="Ordre"),
        {**translations("Order", de="Bestellung")[0], "id": "c/de/Order2"},  # two meanings
        *translations("Open", zh_CN="打开", zh_Hans="打开"),  # two codes of one language
        *translations("OK", de="OK", fr="OK"),  # one text
        *translations("Close", de="Schließen"),
        *translations("Close", corpus="other", fr="Fermer"),  # another corpus
    ]
    rows[0]["dropped"] = ""
    assert pivots.pivot(pivots.keyed(table(rows), 1), 9, 0).num_rows == 0


def test_pivots_are_bounded_and_never_within_a_language(catalogues):
    found = defaultdict(list)
    originals = {row["id"]: (row["original"], row["translation"]) for row in catalogues.to_pylist()}
    for row in pivots.pivot(pivots.keyed(catalogues, 1), 3, 0).to_pylist():
        first, second = row["language"].split("-")
        assert first != second and "en" not in (first, second) and row["original"] != row["translation"]
        one, other = row["id"].split("+")
        assert originals[one] == (originals[other][0], row["original"])
        assert originals[other][1] == row["translation"]
        found[originals[one][0]].append(row["language"])
    assert len(found) > 300
    assert max(map(len, found.values())) == 3
    assert all(len(set(languages)) == len(languages) for languages in found.values())
    assert len({language for languages in found.values() for language in languages}) == 28  # all pairs of 8 languages


@pytest.mark.parametrize("buckets", [2, 13])
def test_pivots_are_the_same_for_any_buckets(catalogues, buckets):
    keyed = pivots.keyed(catalogues, buckets)
    parts = [
        pivots.pivot(keyed.filter(pa.array([b == bucket for b in keyed[BUCKET].to_pylist()])), 2, 0) for bucket in range(buckets)
    ]
    assert pa.concat_tables(parts).sort_by("id").equals(pivots.pivot(pivots.keyed(catalogues, 1), 2, 0).sort_by("id"))


def test_a_glossary_of_short_pairs(table):
    pairs = [
        ("Email address:", "E-Mail-Adresse:"),
        ("Password", "Passwort"),
        ("password", "Passwort"),
        ("View", "Ansicht"),
        ("view", "anzeigen"),  # ambiguous
        ("with", "mit"),  # no term
        ("Go", "Los"),  # too short
        ("%(name)s", "%(name)s"),
        ("This is no term", "Das ist kein Begriff"),
        ("Site", "Site"),
    ]
    rows = table([{"id": f"c/{n}", "original": one, "translation": other} for n, (one, other) in enumerate(pairs)])
    glossary = build_glossary(rows)
    assert glossary["c", "en-de"].translations == {"email address": "E-Mail-Adresse", "password": "Passwort"}
    assert build_glossary(short_pairs(rows)) == glossary
    terms = glossary["c", "en-de"]
    found = occurring(terms, "Enter the PASSWORD and %(password)s", "Geben Sie %(passwort)s und das Passwort ein", "en-de")
    assert [(term.source, term.translation, term.source_start, term.start) for term in found] == [
        ("PASSWORD", "Passwort", 10, 31)
    ]
    assert occurring(terms, "Enter your password", "Passwortfeld ausfüllen", "en-de") == ()  # no whole word
    assert occurring(terms, "Password", "Passwort", "en-de") == ()  # nothing but the term
    assert occurring(terms, "Enter your password", "Passwort:", "en-de") == ()
    assert occurring(NO_TERMS, "Enter your password", "Passwort eingeben", "en-de") == ()


def test_the_longest_term_wins(table):
    pairs = [("Email address", "E-Mail-Adresse"), ("address", "Adresse")]
    rows = table([{"id": f"c/{n}", "original": one, "translation": other} for n, (one, other) in enumerate(pairs)])
    terms = build_glossary(rows)["c", "en-de"]
    found = occurring(terms, "Enter an email address here", "Hier eine E-Mail-Adresse eingeben", "en-de")
    assert [term.source for term in found] == ["email address"]
