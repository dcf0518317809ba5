"""Terms of a corpus, mined from its own short pairs, and where longer pairs use them.

Software has the same words alone (a label, a menu) and in sentences; where a sentence's translation has the word that the label
has, that is the term which its translator used.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from tower_rl.data.corpus.instructions.marks import marks, masked
from tower_rl.data.corpus.instructions.pair import Term
from tower_rl.data.corpus.instructions.tables import active_pairs
from verifiers.translation import languages

MOST_WORDS = 3
MOST_TERMS = 3

_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_COLUMNS = ("corpus", "original", "translation", "language")
_ENDS = " \t:.…!?。：！？"
_SHORTEST, _SHORTEST_DENSE = 4, 2
_TOO_COMMON = frozenset({
    "about", "after", "again", "also", "before", "both", "during", "each", "even", "ever", "every", "from", "have",
    "into", "just", "more", "most", "must", "none", "once", "only", "other", "over", "same", "since", "some", "such",
    "than", "that", "their", "them", "then", "there", "these", "they", "this", "those", "through", "under", "until",
    "very", "want", "were", "what", "when", "where", "which", "while", "will", "with", "without", "would", "your",
})  # fmt: skip
"""English words that are no terms."""


@dataclass(frozen=True, slots=True)
class Terms:
    """Terms of one corpus and pair of languages, from the first language to the second."""

    translations: Mapping[str, str]
    """By the term in small letters."""
    entries: tuple[tuple[str, str], ...]
    """Term and translation as they are written, sorted."""


Glossary = Mapping[tuple[str, str], Terms]
"""By corpus and language pair, as rows have them."""

NO_TERMS = Terms({}, ())


def short_pairs(table: pa.Table) -> pa.Table:
    """The rows (RECORDS) that may be terms. A cheap filter for batches; build_glossary takes all that it leaves."""
    pairs = table.filter(active_pairs(table))
    rows = pairs.select(_COLUMNS).to_pylist()
    return pairs.filter(pa.array([_entry(row) is not None for row in rows], pa.bool_()))


def build_glossary(table: pa.Table) -> Glossary:
    """Terms of all short pairs of a table (RECORDS); a term with several translations is left out."""
    found: dict[tuple[str, str], dict[str, set[tuple[str, str]]]] = defaultdict(lambda: defaultdict(set))
    for row in table.filter(active_pairs(table)).select(_COLUMNS).to_pylist():
        entry = _entry(row)
        if entry:
            found[row["corpus"], row["language"]][entry[0].casefold()].add(entry)
    return {key: _terms(entries) for key, entries in found.items()}


def occurring(terms: Terms, original: str, translation: str, pair: str) -> tuple[Term, ...]:
    """At most MOST_TERMS terms that stand as whole words in both texts, the longest first, none inside another.

    Nothing where the original is not clearly longer than the term, or the translation not longer.
    """
    if not terms.translations:
        return ()
    whole = len(translation.strip(_ENDS))
    text, other = masked(original), masked(translation)
    words = list(_WORD.finditer(text))
    found: list[Term] = []
    taken: set[int] = set()
    for size in range(MOST_WORDS, 0, -1):
        for first in range(len(words) - size + 1):
            places = range(first, first + size)
            if len(words) < size + 2 or len(found) == MOST_TERMS or not taken.isdisjoint(places):
                continue
            written = text[words[first].start() : words[first + size - 1].end()]
            wanted = terms.translations.get(written.casefold())
            match = wanted and _find(wanted, other, pair.partition("-")[2])
            if match and len(match.group()) < whole and not _overlaps(match, found):
                found.append(Term(written, words[first].start(), match.group(), match.start()))
                taken.update(places)
    return tuple(found)


def _overlaps(match: re.Match[str], found: list[Term]) -> bool:
    return any(term.start < match.end() and match.start() < term.end for term in found)


def _terms(found: Mapping[str, set[tuple[str, str]]]) -> Terms:
    sure = {term: min(written) for term, written in found.items() if len({wanted for _, wanted in written}) == 1}
    return Terms({term: wanted for term, (_, wanted) in sure.items()}, tuple(sorted(sure.values())))


def _entry(row: Mapping[str, str]) -> tuple[str, str] | None:
    """Term and translation, where a pair is nothing else and they differ."""
    source, _, target = row["language"].partition("-")
    term, wanted = _term(row["original"], languages.base(source)), _term(row["translation"], languages.base(target))
    return (term, wanted) if term and wanted and term.casefold() != wanted.casefold() else None


def _term(text: str, base: str) -> str | None:
    """The text without what ends it, if it is one to MOST_WORDS words and nothing else."""
    term = text.strip(_ENDS)
    words = term.split(" ")
    if len(words) > MOST_WORDS or marks(term) or not all(map(_WORD.fullmatch, words)):
        return None
    if len(term) < (_SHORTEST_DENSE if base in languages.DENSE else _SHORTEST) or term.casefold() in _TOO_COMMON:
        return None
    return term


def _find(term: str, text: str, code: str) -> re.Match[str] | None:
    """A whole word; in languages whose words stand together or take particles, anywhere."""
    pattern = re.escape(term) if languages.base(code) in languages.DENSE else rf"(?<!\w){re.escape(term)}(?!\w)"
    return re.search(pattern, text, re.IGNORECASE)
