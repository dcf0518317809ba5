"""What one rank learns: packs read by (seed, step, rank)."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Any

from tower_rl.config.schema import SupervisedStage
from tower_rl.data.mixture import Mixture, share
from tower_rl.data.pack_reader import PackReader
from tower_rl.data.packs import Pack

VALIDATION_PACKS = 16
"""Most packs of a stream in a validation."""


class MaterialisedFeed:
    """Prepared packs. The packs of a step are the same for any number of ranks, which share them by their tokens."""

    def __init__(self, folder: Path, stage: SupervisedStage, seed: int, rank: int, ranks: int) -> None:
        """Raises DataError for a folder that is not whole, and for weights that do not fit its corpora."""
        self._reader = PackReader(folder)
        self._mixture = Mixture(
            self._reader.contents(),
            weights=stage.weights,
            language_temperature=stage.language_temperature,
            seed=seed,
            tokens_per_step=stage.tokens_per_step,
        )
        self._rank, self._ranks = rank, ranks

    def step(self, number: int) -> Sequence[Pack]:
        """See tower_rl.protocols.Feed."""
        return [self._reader.read(ref) for ref in share(self._mixture.step(number), self._rank, self._ranks)]

    def held_out(self) -> Iterator[Pack]:
        """See tower_rl.protocols.Feed."""
        refs = list(chain.from_iterable(self._mixture.held_out(VALIDATION_PACKS).values()))
        yield from map(self._reader.read, share(refs, self._rank, self._ranks))

    def metrics(self) -> Mapping[str, float]:
        """See tower_rl.protocols.Feed."""
        return self._mixture.metrics()

    def state_dict(self) -> dict[str, Any]:
        """See tower_rl.protocols.Feed."""
        return self._mixture.state_dict()

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """See tower_rl.protocols.Feed."""
        self._mixture.load_state_dict(state)
