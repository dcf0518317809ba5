"""Hashes of runs of words, for whole tables at once."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import regex
from xxhash import xxh3_64_intdigest

Hashes = npt.NDArray[np.uint64]

_UNSPACED = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_UNIT = regex.compile(rf"[[\p{{L}}\p{{N}}]&&[{_UNSPACED}]]\p{{M}}*|[[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]+", regex.V1)


class Shingles(NamedTuple):
    """Hashes of the runs of n units of several texts."""

    hashes: Hashes
    """[all runs] in the order of the texts."""
    offsets: npt.NDArray[np.int64]
    """[texts + 1] where each text's runs begin."""

    def of(self, text: int) -> Hashes:
        """[runs] of one text."""
        return self.hashes[self.offsets[text] : self.offsets[text + 1]]


def units(text: str) -> list[str]:
    """Words without case and punctuation; each letter of a script without spaces between words is one."""
    return _UNIT.findall(text.casefold())


def shingles(texts: Sequence[str], n: int, salts: Sequence[int] | None = None) -> Shingles:
    """The runs of n units of each text; of a shorter one its only run, the whole; of one without units none.

    Args:
        texts: any.
        n: units of a run.
        salts: one a text; runs of texts with different salts are never equal.
    """
    words = [units(text) for text in texts]
    counts = np.array([len(each) for each in words], np.int64)
    flat = np.fromiter((xxh3_64_intdigest(word.encode()) for each in words for word in each), np.uint64, counts.sum())
    ends = np.cumsum(counts)
    end_of, count_of = np.repeat(ends, counts), np.repeat(counts, counts)
    place = np.arange(len(flat))
    sums = np.zeros_like(flat)
    for k, weight in enumerate(_weights(n)):
        left = max(len(flat) - k, 0)
        sums[:left] += flat[k:] * (place[k:] < end_of[:left]) * weight
    if salts is not None:
        sums ^= np.repeat(np.array(salts, np.uint64), counts)
    first = place == end_of - count_of
    hashes = mixed(sums)[(place + n <= end_of) | first]
    runs = np.minimum(counts, np.maximum(counts - n + 1, 1))
    return Shingles(hashes, np.concatenate(([0], np.cumsum(runs))))


def mixed(values: Hashes) -> Hashes:
    """Values whose every bit depends on every bit of the argument (the finaliser of SplitMix64, Steele et al. 2014)."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _weights(n: int) -> list[np.uint64]:
    """Odd numbers, one for each place in a run."""
    return [np.uint64(xxh3_64_intdigest(f"place {k}".encode()) | 1) for k in range(n)]
