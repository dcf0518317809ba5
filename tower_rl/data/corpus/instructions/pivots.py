"""Pairs between two languages that one original was translated to.

    waiting = keyed(table, buckets)                      # pairs, with a column BUCKET
    extra = pivot(rows of one or more buckets, ...)      # whole groups in, additional RECORDS out

All translations of an original share a bucket. So with Ray Data: `map_batches(keyed)`, `groupby(BUCKET)`, `map_groups(pivot)`,
and the union with the table itself, whose rows stay; all with batch_format="pyarrow". `pivot(keyed(table, 1), ...)` does it for a
table in memory. Made before documents are joined, of segments; the extra rows belong to no document.
"""

from collections import defaultdict
from itertools import combinations
from typing import Any

import pyarrow as pa

from tower_rl.data.corpus.instructions.choice import chooser
from tower_rl.data.corpus.instructions.pair import language_name
from tower_rl.data.corpus.instructions.tables import active_pairs, with_bucket, without_bucket
from tower_rl.data.corpus.records import RECORDS

_KEY = ("corpus", "original")


def keyed(table: pa.Table, buckets: int) -> pa.Table:
    """Pairs in use (RECORDS), with a column BUCKET from 0 to `buckets` - 1."""
    return with_bucket(table.filter(active_pairs(table)), _KEY, buckets)


def pivot(table: pa.Table, most: int, seed: int) -> pa.Table:
    """At most `most` extra pairs for each original (RECORDS), chosen by the original and the seed.

    A language that translates the original in several ways is left out, for it may be that the original means several things;
    so are pairs of equal texts. Two originals in different corpora are two originals, as their licences may differ.
    The extra pair has the id `FIRST+SECOND`, languages in the order of their codes.

    Args:
        table: whole groups, as `keyed` leaves them.
        most: pairs of one original; n languages have n (n - 1) / 2.
    """
    groups: dict[tuple[str, str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in without_bucket(table).sort_by("id").to_pylist():
        groups[row["corpus"], row["language"].partition("-")[0], row["original"]].append(row)
    extra = [pair for key, rows in sorted(groups.items()) for pair in _pairs("/".join(key), rows, most, seed)]
    return pa.Table.from_pylist(extra, RECORDS)


def _pairs(key: str, rows: list[dict[str, Any]], most: int, seed: int) -> list[dict[str, Any]]:
    """Extra rows of the translations of one original."""
    by_name: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        code = row["language"].partition("-")[2]
        by_name[language_name(code) or code].append(row)
    sure = [found[0] for found in by_name.values() if len({row["translation"] for row in found}) == 1]
    sure.sort(key=lambda row: str(row["language"]))
    candidates = [(a, b) for a, b in combinations(sure, 2) if a["translation"] != b["translation"]]
    return [_pair(a, b) for a, b in chooser(seed, "pivot", key).sample(candidates, min(most, len(candidates)))]


def _pair(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    languages = (row["language"].partition("-")[2] for row in (first, second))
    return first | {
        "id": f"{first['id']}+{second['id']}",
        "language": "-".join(languages),
        "original": first["translation"],
        "translation": second["translation"],
        "document": "",
        "position": 0,
    }
