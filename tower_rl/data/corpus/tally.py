"""What became of the rows: counts by corpus, language and reason, and samples of what was dropped."""

from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from xxhash import xxh3_64_intdigest

READ = "read:"
"""How the reasons of rows begin that a reader could not read."""
CLIP = 1000
"""Characters of a text that a sample shows."""

Counts = Counter[tuple[str, str, str, str]]
"""By corpus, language, what (read, kept, dropped, noted, made), and the reason or the kind of note."""


def count(table: pa.Table, what: str) -> Counts:
    """Rows by corpus and language, as `what`."""
    return Counter({(corpus, language, what, ""): n for corpus, language, n in _grouped(table, "corpus", "language")})


def count_dropped(table: pa.Table) -> Counts:
    """The dropped rows by corpus, language and reason."""
    lost = table.filter(pc.not_equal(table["dropped"], ""))
    return Counter({(c, language, "dropped", why): n for c, language, why, n in _grouped(lost, "corpus", "language", "dropped")})


def count_notes(table: pa.Table) -> Counts:
    """The rows in use that have notes, by the notes' kinds."""
    noted = table.filter(pc.and_(pc.equal(table["dropped"], ""), pc.not_equal(table["detail"], "")))
    counts: Counts = Counter()
    for row in noted.select(["corpus", "language", "detail"]).to_pylist():
        kinds = {text.split(":")[0] for text in row["detail"].split("; ")}
        counts.update((row["corpus"], row["language"], "noted", kind) for kind in kinds)
    return counts


def samples(table: pa.Table, most: int) -> list[dict[str, Any]]:
    """Dropped rows, at most `most` for each corpus and reason: those with the smallest hash of their id, so any of them."""
    lost = table.filter(pc.not_equal(table["dropped"], "")).select(["corpus", "dropped", "id"])
    chosen: dict[tuple[str, str], list[tuple[int, int]]] = defaultdict(list)
    rows = pc.indices_nonzero(pc.not_equal(table["dropped"], "")).to_pylist()
    for row, values in zip(rows, lost.to_pylist(), strict=True):
        chosen[values["corpus"], values["dropped"]].append((xxh3_64_intdigest(values["id"].encode()), row))
    picked = sorted(row for each in chosen.values() for _, row in sorted(each)[:most])
    return [_readable(row) for row in table.take(pa.array(picked, pa.int64())).to_pylist()]


def fewest(rows: list[dict[str, Any]], most: int) -> list[dict[str, Any]]:
    """`samples` of several tables as if they had been one."""
    chosen: dict[tuple[str, str], list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        chosen[row["corpus"], row["reason"]].append(row)
    return [row for _, each in sorted(chosen.items()) for row in sorted(each, key=_rank)[:most]]


def report(counts: Counts) -> dict[str, Any]:
    """Nested counts for index.json: all, by corpus, and by language inside a corpus.

    Everywhere read + made = kept + lost. `made` are the rows that later functions made of others, less than none where they
    joined rows; `dropped` are the lost by reason, `noted` the kept by kind of note.
    """
    corpora: dict[str, Any] = {}
    for corpus in sorted({key[0] for key in counts}):
        own = {key: n for key, n in counts.items() if key[0] == corpus}
        languages = sorted({key[1] for key in own})
        each = {language: _summed({key: n for key, n in own.items() if key[1] == language}) for language in languages}
        corpora[corpus] = _summed(own) | {"languages": each}
    return _summed(counts) | {"corpora": corpora}


def _summed(counts: Mapping[tuple[str, str, str, str], int]) -> dict[str, Any]:
    total: Counter[str] = Counter()
    reasons: dict[str, Counter[str]] = {"dropped": Counter(), "noted": Counter()}
    for (_, _, what, reason), n in counts.items():
        if what in reasons:
            reasons[what][reason] += n
        else:
            total[what] += n
    lost = reasons["dropped"].total()
    made = total["kept"] + lost - total["read"]
    sums = {"read": total["read"], "made": made, "kept": total["kept"], "lost": lost}
    return sums | {name: dict(sorted(values.items())) for name, values in reasons.items()}


def _readable(row: Mapping[str, Any]) -> dict[str, Any]:
    first = {
        "corpus": row["corpus"],
        "language": row["language"],
        "reason": row["dropped"],
        "detail": row["detail"],
        "id": row["id"],
    }
    texts = {name: row[name][:CLIP] for name in ("text", "original", "translation") if row.get(name)}
    chat = [message | {"content": message["content"][:CLIP]} for message in row.get("messages") or ()]
    return first | texts | ({"messages": chat} if chat else {})


def _rank(row: Mapping[str, Any]) -> tuple[int, str]:
    return xxh3_64_intdigest(row["id"].encode()), row["id"]


def _grouped(table: pa.Table, *names: str) -> list[list[Any]]:
    grouped = table.group_by(list(names)).aggregate([([], "count_all")])
    return [list(row) for row in zip(*(grouped[name].to_pylist() for name in (*names, "count_all")), strict=True)]
