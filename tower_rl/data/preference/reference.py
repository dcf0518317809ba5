"""Log-probabilities of a frozen model, computed once for the same pairs and kept on disk."""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tower_rl.data.preference.types import Pair
from tower_rl.files import replacing
from tower_rl.types import Floats

Sides = tuple[Floats, Floats]
"""[T] of the chosen answer's tokens and [T'] of the rejected one's."""


class ReferenceCache:
    """Files named by the digest of model, dtype and pairs: training on the same pairs with another loss finds them again."""

    def __init__(self, folder: str, model: Path, dtype: str) -> None:
        """The folder `data.cache`, and the frozen model."""
        self.folder = Path(os.path.expanduser(folder)) / "reference"
        self._model = fingerprint(model) + dtype

    def find(self, pairs: Sequence[Pair]) -> list[Sides] | None:
        """What was kept for exactly these pairs in this order."""
        path = self._path(pairs)
        if not path.exists():
            return None
        lengths = [len(side.token_ids) for pair in pairs for side in (pair.chosen, pair.rejected)]
        parts = np.split(np.load(path), np.cumsum(lengths)[:-1])
        return list(zip(parts[0::2], parts[1::2], strict=True))

    def keep(self, pairs: Sequence[Pair], sides: Sequence[Sides]) -> None:
        """Write them, whole or not at all."""
        path = self._path(pairs)
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as temporary, temporary.open("wb") as file:
            np.save(file, np.concatenate([values for both in sides for values in both]))

    def _path(self, pairs: Sequence[Pair]) -> Path:
        digest = hashlib.sha256(self._model.encode())
        for pair in pairs:
            for tokens in (pair.prompt.token_ids, pair.chosen.token_ids, pair.rejected.token_ids):
                digest.update(len(tokens).to_bytes(8, "little") + np.array(tokens, np.int64).tobytes())
        return self.folder / f"{digest.hexdigest()}.npy"


def fingerprint(model: Path) -> str:
    """Of a model's folder: names, sizes and times of its files; bytes of many gigabytes are not read for it."""
    files = sorted(path for path in model.iterdir() if path.suffix in (".safetensors", ".json"))
    facts = [(path.name, path.stat().st_size, path.stat().st_mtime_ns) for path in files]
    return hashlib.sha256(repr(facts).encode()).hexdigest()
