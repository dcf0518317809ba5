"""Which packs a step trains: a pure function of (packs, weights, temperature, seed, step).

Shares are of all tokens of packs, learned or not, as in the recipes' mixtures: a corpus has w / sum(w) of them, and inside a
corpus a language that has n tokens has n**T / sum(n**T).
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Protocol, TypeVar

import numpy as np

from tower_rl.data.packing import takes
from tower_rl.data.packs import Contents, PackRef, corpus_of
from tower_rl.data.rows import DataError
from tower_rl.types import Ints

_WHOLE = 1 << 40  # shares are whole multiples of 1 / _WHOLE, so that no rounding decides which pack comes next


class _Stream:
    """One stream's packs without end, each of its epochs in another order."""

    def __init__(self, name: str, share: int, sizes: Ints, seed: int) -> None:
        self.name = name
        self.share = share
        self.given = 0
        """Tokens of the packs that were taken."""
        self.tokens = int(sizes[:, 0].sum())
        """Tokens of an epoch."""
        self._sizes = sizes
        self._seed = seed
        self.move(0)

    @property
    def start(self) -> int:
        """The tokens of the whole mixture at which the stream's share is as large as what it has given, times _WHOLE."""

    def move(self, taken: int) -> None:
        """Goes to where so many packs were taken."""
        self.taken = taken
        epoch, self._place = divmod(taken, len(self._sizes))
        self._begin(epoch)
        self.given = epoch * self.tokens + int(self._sizes[self._order[: self._place], 0].sum())

    def take(self) -> PackRef:
        """The next pack."""
