"""Equal and nearly equal texts, by keys that are compared elsewhere: a table alone cannot know what the others hold.

A key is a row of KEYS. Rows with equal keys are duplicates (exact) or candidates (near), and `place`, which grows in the order of
the corpora, says who is first. So any part of the range of keys can be looked at by itself, and the result depends on no order.
"""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from rensa import RMinHash
from xxhash import xxh3_64_intdigest, xxh3_128_intdigest

from tower_rl.data.corpus.cleaning.shingles import Hashes, mixed, shingles
from tower_rl.data.corpus.cleaning.table import Loss, Record, drop, records

KEYS = np.dtype([("key", np.uint64), ("low", np.uint64), ("place", np.uint64)])
LOSERS = np.dtype([("place", np.uint64), ("first", np.uint64)])
"""Rows that are not the first of their kind, and which is."""

Keys = npt.NDArray[np.void]
Signatures = npt.NDArray[np.uint32]

WORDS = 5
PERMUTATIONS = 128
RECALL = 0.99
"""Share of the pairs at the threshold that become candidates."""
COMPARED = 1000
"""Different texts of one band that the others of that band are compared with: bounds the work on boilerplate."""


def exact_keys(table: pa.Table, places: Hashes) -> Keys:
    """[rows in use] 128-bit hashes of what the rows say; of pairs, the languages belong to it."""
    found = records(table)
    used = [row for row, record in enumerate(found) if record]
    digests = [xxh3_128_intdigest(_content(record).encode()) for record in found if record]
    keys = np.empty(len(used), KEYS)
    keys["key"] = [digest >> 64 for digest in digests]
    keys["low"] = [digest & (2**64 - 1) for digest in digests]
    keys["place"] = places[used]
    return np.sort(keys, order=["key", "low", "place"])


def signatures(table: pa.Table) -> tuple[npt.NDArray[np.int64], Signatures]:
    """Rows in use that have words, and [those rows, PERMUTATIONS] their MinHash signatures.

    The share of equal numbers in two signatures estimates the Jaccard similarity of the sets of runs of WORDS words (Broder
    1997), with a standard error of at most 0.044. Both sides of a pair are in one set; pairs of other languages share no run.
    """
    rows, texts, salts = [], [], []
    for row, record in enumerate(records(table)):
        for side, text in enumerate(record.texts if record else ()):
            rows.append(row)
            texts.append(text)
            salts.append(_salt(record, side) if record else 0)
    runs = shingles(texts, WORDS, salts)
    counts = np.zeros(table.num_rows, np.int64)
    np.add.at(counts, rows, np.diff(runs.offsets))
    used = np.flatnonzero(counts)
    offsets = np.concatenate(([0], np.cumsum(counts[used]))).astype(np.uint64)
    matrix = RMinHash.digest_matrix_from_flat_token_hashes(runs.hashes, offsets, PERMUTATIONS, 1)
    return used, np.array(matrix.to_rows(), np.uint32).reshape(len(used), PERMUTATIONS)


def near_keys(found: Signatures, places: Hashes, threshold: float) -> Keys:
    """[rows * bands] keys of locality-sensitive hashing: `key` of one band, `low` of the whole signature."""
    width = band_width(threshold)
    bands = PERMUTATIONS // width
    weights = mixed(np.arange(1, PERMUTATIONS + 1, dtype=np.uint64)) | np.uint64(1)
    weighted = found * weights
    keys = np.empty((len(found), bands), KEYS)
    banded = weighted[:, : bands * width].reshape(-1, bands, width).sum(2)
    keys["key"] = mixed(banded ^ mixed(np.arange(1, bands + 1, dtype=np.uint64)))
    keys["low"] = mixed(weighted.sum(1))[:, None]
    keys["place"] = places[:, None]
    return np.sort(keys.ravel(), order=["key", "low", "place"])


def band_width(threshold: float) -> int:
    """Most numbers a band with which RECALL of the pairs at the threshold share a band: fewer other pairs then do."""
    return max(r for r in range(1, 33) if r == 1 or 1 - (1 - threshold**r) ** (PERMUTATIONS // r) >= RECALL)


def not_first(keys: Keys) -> Keys:
    """LOSERS among KEYS in any order: those that have `key` and `low` of an earlier one."""
    keys = np.sort(keys, order=["key", "low", "place"])
    starts = _starts(keys, "key", "low")
    firsts = keys["place"][np.repeat(starts, np.diff(np.append(starts, len(keys))))]
    return _losers(keys["place"], firsts)


def near_losers(keys: Keys, look_up: Callable[[Hashes], Signatures], threshold: float) -> Keys:
    """LOSERS among the KEYS of `near_keys`: rows that share a band with an earlier row that is similar.

    Args:
        keys: all that have the same `key`, for each `key` that is there.
        look_up: gives the signatures of the rows at these places.
        threshold: estimated similarity from which the later row loses.
    """
    same = not_first(keys)
    keys = np.sort(keys, order=["key", "low", "place"])
    keys = np.sort(keys[_starts(keys, "key", "low")], order=["key", "place"])  # the first of each signature
    starts = _starts(keys, "key")
    ends = np.append(starts[1:], len(keys))
    several = ends - starts > 1
    places = np.unique(keys["place"][np.repeat(several, ends - starts)])
    known = look_up(places)
    found = [same]
    for start, end in zip(starts[several], ends[several], strict=True):
        group = keys["place"][start:end]
        found.append(_similar(group, known[np.searchsorted(places, group)], threshold))
    return np.concatenate(found)


def first_only(losers: Keys) -> Keys:
    """LOSERS with each place once, beside the earliest that it lost to."""
    losers = np.sort(losers, order=["place", "first"])
    return losers[_starts(losers, "place")]


def drop_losers(table: pa.Table, places: Hashes, losers: Keys, reason: str) -> pa.Table:
    """Drop the rows whose places are among the LOSERS (sorted, each once); `detail` is the `place_name` of the first."""
    if not len(losers):
        return table
    at = np.minimum(np.searchsorted(losers["place"], places), len(losers) - 1)
    lost = losers["place"][at] == places
    firsts = losers["first"][at].tolist()
    losses: list[Loss | None] = [
        (reason, place_name(first)) if is_lost else None for is_lost, first in zip(lost, firsts, strict=True)
    ]
    return drop(table, losses)


def place_name(place: int) -> str:
    """How a place is written: as long and in the same order as the number."""
    return f"{place:016x}"


def _similar(places: Hashes, found: Signatures, threshold: float) -> Keys:
    """LOSERS among rows in their order: those similar to one of the first COMPARED."""
    firsts = places.copy()
    for row in range(min(COMPARED, len(places) - 1)):
        open_ = row + 1 + np.flatnonzero(firsts[row + 1 :] == places[row + 1 :])
        alike = (found[open_] == found[row]).mean(1) >= threshold
        firsts[open_[alike]] = places[row]
    return _losers(places, firsts)


def _losers(places: Hashes, firsts: Hashes) -> Keys:
    lost = places != firsts
    result = np.empty(lost.sum(), LOSERS)
    result["place"], result["first"] = places[lost], firsts[lost]
    return result


def _starts(keys: Keys, *names: str) -> npt.NDArray[np.int64]:
    """Where runs of equal fields begin."""
    new = np.ones(len(keys), bool)
    new[1:] = np.any([keys[name][1:] != keys[name][:-1] for name in names], axis=0)
    return np.flatnonzero(new)


def _content(record: Record) -> str:
    language = record.language if record.kind == "pair" else ""
    return "\x00".join((record.kind, language, *record.texts))


def _salt(record: Record, side: int) -> int:
    return xxh3_64_intdigest(f"{record.language} {side}".encode()) if record.kind == "pair" else 0
