"""What one rank learns: packs read by (seed, step, rank), or made of rows that stream in."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tower_rl.config.stages import SupervisedStage
from tower_rl.data.corpus import tally
from tower_rl.data.mixture import Mixture, share
from tower_rl.data.pack_reader import PackReader
from tower_rl.data.packing import packs, steps
from tower_rl.data.packs import Pack, corpus_of
from tower_rl.data.rows import SHOWN, DataError, check_share

VALIDATION_PACKS = 16
"""Most packs of a stream in a validation."""
FIRST_ROWS = 8192
"""Rows of a rank's stream among which the held-out ones are the validation."""
WINDOW = 1024
"""Documents of a stream of rows that are packed together."""
JUDGED_ROWS = 1000
"""Rows of a corpus from which on the share of its bad rows says something."""


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


@dataclass(frozen=True, slots=True)
class Taken:
    """What one rank took in a step."""

    documents: int
    tokens: Counter[str]
    """Learned ones, by stream."""
    dropped: Counter[str]
    """Rows dropped up to now, by corpus."""


class StreamingFeed:
    """Packs of rows that stream in, as they come: two runs have not the same steps.

    All ranks take part in an epoch until the last of them has no more rows; the steps before its end may be short. Held-out
    rows are never learned, and those among the first rows are the validation.
    """

    def __init__(
        self,
        tables: Callable[[], Iterable[pa.Table]],
        stage: SupervisedStage,
        max_rejects: Mapping[str, float],
        ranks: int,
        gather: Callable[[Taken], Sequence[Taken]],
    ) -> None:
        """Reads nothing yet.

        Args:
            tables: this rank's rows (TOKENS) of the next epoch, with those that were dropped.
            stage: the stage.
            max_rejects: of each corpus, the share of rows that cannot be read above which the run stops.
            ranks: how many there are.
            gather: a collective: what all ranks call it with.
        """
        self._tables, self._stage, self._ranks, self._gather = tables, stage, ranks, gather
        self._rejects = _Rejects(max_rejects)
        self._steps: Iterator[list[Pack]] | None = None
        self._validation: list[Pack] = []
        self._epoch, self._documents = 0, 0
        self._tokens, self._dropped = Counter[str](), Counter[str]()

    def step(self, number: int) -> Sequence[Pack]:
        """See tower_rl.protocols.Feed. Raises DataError when there is nothing to learn, or too many rows are bad."""
        for _ in range(2):
            packs = next(self._opened(), [])
            taken = self._gather(_taken(packs, self._rejects.dropped))
            self._dropped = sum((rank.dropped for rank in taken), Counter[str]())
            if documents := sum(rank.documents for rank in taken):
                self._documents += documents
                self._tokens += sum((rank.tokens for rank in taken), Counter[str]())
                return packs
            self._epoch, self._documents = self._epoch + 1, 0
            self._steps = self._packed(self._rows(), 0)
        raise DataError("the corpora have no row to learn from")

    def held_out(self) -> Iterator[Pack]:
        """See tower_rl.protocols.Feed."""
        self._opened()
        yield from self._validation

    def metrics(self) -> Mapping[str, float]:
        """Shares of the learned tokens by corpus and stream, epochs, and rows dropped by corpus."""
        given = self._tokens.copy()
        for stream, tokens in self._tokens.items():
            given[corpus_of(stream)] += tokens
        total = max(1, self._tokens.total())
        shares = {f"mixture/{name}/realised": tokens / total for name, tokens in sorted(given.items())}
        dropped = {f"mixture/{name}/dropped": float(rows) for name, rows in sorted(self._dropped.items())}
        return shares | dropped | {"mixture/epoch": float(self._epoch)}

    def state_dict(self) -> dict[str, Any]:
        """Counts alone: epochs, documents learned in this one, and learned tokens by stream."""
        return {"epoch": self._epoch, "documents": self._documents, "tokens": dict(self._tokens)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on behind as many rows as were learned. Raises DataError for the state of another kind of feed."""
        if state.keys() != self.state_dict().keys():
            raise DataError("the checkpoint is of a stage with another kind of feed")
        self._epoch, self._documents = state["epoch"], state["documents"]
        self._tokens = Counter(state["tokens"])

    def _opened(self) -> Iterator[list[Pack]]:
        """Steps of this epoch; before the first of all, the validation is collected."""
        if self._steps is None:
            rows = self._rows()
            first = list(_first(rows, FIRST_ROWS))
            held_out = packs(_only(first, held_out=True), self._stage.sequence_length, WINDOW)
            self._validation = _few(held_out, -(-VALIDATION_PACKS // self._ranks))
            self._steps = self._packed(chain(first, rows), self._documents // self._ranks)
        return self._steps

    def _rows(self) -> Iterator[pa.Table]:
        return self._rejects.watch(self._tables())

    def _packed(self, tables: Iterable[pa.Table], skipped: int) -> Iterator[list[Pack]]:
        learned = _behind(_only(tables, held_out=False), skipped)
        return steps(packs(learned, self._stage.sequence_length, WINDOW), max(1, self._stage.tokens_per_step // self._ranks))


class _Rejects:
    """Counts the rows of a stream that are dropped, and stops it when too many could not be read."""

    def __init__(self, most: Mapping[str, float]) -> None:
        self._most = most
        self._rows, self._bad = Counter[str](), Counter[str]()
        self._shown: dict[str, list[str]] = {}
        self.dropped = Counter[str]()

    def watch(self, tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
        """The tables as they are. Raises DataError."""
        for table in tables:
            lost = table.filter(pc.not_equal(table["dropped"], ""))
            bad = lost.filter(pc.starts_with(lost["dropped"], tally.READ))
            for counter, rows in ((self._rows, table), (self.dropped, lost), (self._bad, bad)):
                counter.update(rows["corpus"].to_pylist())
            for row in bad.to_pylist():
                lines = self._shown.setdefault(row["corpus"], [])
                if len(lines) < SHOWN:
                    lines.append(f"{row['id']}: {row['dropped'].removeprefix(tally.READ).strip()}: {row['detail']}")
            self._check(JUDGED_ROWS)
            yield table
        self._check(1)

    def _check(self, rows: int) -> None:
        for corpus, n in self._bad.items():
            if (total := self._rows[corpus]) >= rows:
                check_share(f"corpus {corpus!r}", n, total, self._most[corpus], self._shown[corpus])


def _taken(packs: Sequence[Pack], dropped: Counter[str]) -> Taken:
    tokens = Counter[str]()
    for pack in packs:
        tokens[pack.stream] += int(pack.trained.sum())
    return Taken(sum(len(pack.lengths) for pack in packs), tokens, dropped)


def _first(tables: Iterator[pa.Table], rows: int) -> Iterator[pa.Table]:
    """Tables, until they have so many rows."""
    while rows > 0 and (table := next(tables, None)) is not None:
        rows -= table.num_rows
        yield table


def _only(tables: Iterable[pa.Table], *, held_out: bool) -> Iterator[pa.Table]:
    """The rows in use that are for validation, or for training."""
    for table in tables:
        yield table.filter(pc.and_(pc.equal(table["dropped"], ""), pc.equal(table["held_out"], held_out)))


def _behind(tables: Iterable[pa.Table], rows: int) -> Iterator[pa.Table]:
    """What follows so many rows."""
    for table in tables:
        yield table.slice(rows)
        rows = max(0, rows - table.num_rows)


def _few(found: Iterable[Pack], most: int) -> list[Pack]:
    """At most so many packs of each stream."""
    by_stream: dict[str, list[Pack]] = {}
    for pack in found:
        by_stream.setdefault(pack.stream, []).append(pack)
    return [pack for listed in by_stream.values() for pack in islice(listed, most)]
