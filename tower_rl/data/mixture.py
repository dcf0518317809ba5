"""Which packs a step trains: a pure function of (packs, weights, temperature, seed, step).

Shares are of all tokens of packs, learned or not: corpus c has w_c / sum(w) of them, and inside a corpus a language that has n_l
tokens has n_l**T / sum(n**T). With the defaults (w_c the corpus's tokens, T = 1) all packs are given equally often.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from heapq import heapify, heappop, heappush
from typing import Any, Protocol, TypeVar

import numpy as np

from tower_rl.data.packing import takes
from tower_rl.data.packs import Contents, PackRef, corpus_of
from tower_rl.data.rows import DataError
from tower_rl.types import Ints

_WHOLE = 1 << 40  # shares are kept as whole numbers of about 1 / _WHOLE, so that no rounding can add up


class Mixture:
    """The packs of every step, without end; every stream is shuffled anew in each of its epochs.

    No pack repeats before all of its stream were given. The packs of the steps up to any one, and any prefix of them, have each
    stream's share of the tokens, give or take one pack: of the streams that are not ahead of their share the next pack comes
    from the one that would first be due to have given it. That is the scheduler WF2Q (J. Bennett, H. Zhang, WF2Q: Worst-case
    Fair Weighted Fair Queueing, INFOCOM 1996); always taking the one that is furthest behind leaves some behind by more.

    Raises DataError for a weight of a corpus that is not there, and for a corpus without packs.
    """

    def __init__(
        self, contents: Contents, *, weights: Mapping[str, float], language_temperature: float, seed: int, tokens_per_step: int
    ) -> None:
        """Prepares the first step.

        Args:
            contents: what packs there are.
            weights: of corpora, on any scale; one that is not named has its number of tokens.
            language_temperature: T, from 0 (all languages of a corpus alike) to 1 (as they are).
            seed: of the order of packs.
            tokens_per_step: a step has as many packs as come closest to it, at least one.
        """
        _check(contents, weights)
        self.shares = _shares(contents, weights, language_temperature)
        """The share of each stream; they add up to 1."""
        self._held_out = contents.held_out
        self._tokens_per_step = tokens_per_step
        self._digest = hashlib.sha256(json.dumps([contents.digest, seed, self.shares, tokens_per_step]).encode()).hexdigest()
        self._streams = [
            _Stream(name, max(1, round(share * _WHOLE)), contents.training[name], seed) for name, share in self.shares.items()
        ]
        self._whole = sum(stream.share for stream in self._streams)
        self._last: list[PackRef] = []
        self._go(0, {})

    def step(self, number: int) -> list[PackRef]:
        """The packs of a step, from 0; in no order that matters.

        The next step is made from the last one; for any other, those from the last one or the first one on are gone through.
        """
        if number < self._next - 1 or (number == self._next - 1 and not self._last):
            self._go(0, {})
        while self._next <= number:
            self._last = self._take_step()
            self._next += 1
        return list(self._last)

    def state_dict(self) -> dict[str, Any]:
        """The number of the next step, how many packs of each stream were given, and a digest of what decides the order."""
        return {"step": self._next, "taken": {stream.name: stream.taken for stream in self._streams}, "digest": self._digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to the saved step. Raises DataError when the mixture is no longer the one that was saved."""
        if state["digest"] != self._digest:
            raise DataError(
                "the packs are not those of the checkpoint (texts, tokenizer, sequence length, weights, seed or tokens a step "
                "changed); restore them, or start a new run"
            )
        self._go(state["step"], state["taken"])

    def metrics(self) -> dict[str, float]:
        """Of each corpus and each stream, up to the last step: share asked for, share realised, and epochs (by tokens).

        Keys are `mixture/CORPUS/asked`, `mixture/CORPUS/LANGUAGE/asked`, likewise `realised` and `epochs`.
        """
        asked, given, tokens = Counter[str](), Counter[str](), Counter[str]()
        for stream in self._streams:
            for name in (corpus_of(stream.name), stream.name):
                asked[name] += self.shares[stream.name]  # type: ignore[assignment]
                given[name] += stream.given
                tokens[name] += stream.tokens
        total = max(1, self._given)
        return {
            f"mixture/{name}/{what}": value
            for name in sorted(asked)
            for what, value in (
                ("asked", float(asked[name])),
                ("realised", given[name] / total),
                ("epochs", given[name] / tokens[name]),
            )
        }

    def held_out(self, limit: int) -> dict[str, list[PackRef]]:
        """At most `limit` held-out packs of each stream that has any; the same for every seed."""
        return {
            name: [
                PackRef(name, place, int(sizes[place, 0]), int(sizes[place, 1]), held_out=True)
                for place in _order(f"held out/{name}", len(sizes))[:limit].tolist()
            ]
            for name, sizes in self._held_out.items()
        }

    def _go(self, step: int, taken: Mapping[str, int]) -> None:
        """To where a step begins; a stream that `taken` does not name is at its beginning."""
        for stream in self._streams:
            stream.go(taken[stream.name] if taken else 0)
        self._next = step
        self._last = []
        self._given = sum(stream.given for stream in self._streams)
        self._due: list[tuple[float, int]] = []  # streams that are not ahead of their share, by when their next pack is due
        self._ahead = [(self._start(stream), place) for place, stream in enumerate(self._streams)]
        heapify(self._ahead)

    def _take_step(self) -> list[PackRef]:
        step: list[PackRef] = []
        tokens = 0
        while True:
            place = self._front()
            if step and not takes(tokens, self._streams[place].next_tokens, self._tokens_per_step):
                return step
            step.append(self._take(place))
            tokens += step[-1].tokens

    def _front(self) -> int:
        """The place of the stream that gives the next pack."""
        # There always is one: what all have given beyond their shares adds up to nothing.
        while self._ahead and self._ahead[0][0] <= self._given:
            place = heappop(self._ahead)[1]
            heappush(self._due, (self._due_at(self._streams[place]), place))
        return self._due[0][1]

    def _take(self, front: int) -> PackRef:
        heappop(self._due)
        pack = self._streams[front].take()
        self._given += pack.tokens
        heappush(self._ahead, (self._start(self._streams[front]), front))
        return pack

    def _start(self, stream: "_Stream") -> int:
        """How many tokens all streams must have given until this one is not ahead of its share."""
        return -(-stream.given * self._whole // stream.share)

    def _due_at(self, stream: "_Stream") -> float:
        """How many tokens all streams have given when this one, by its share, has given its next pack."""
        return (stream.given + stream.next_tokens) * self._whole / stream.share


class _Stream:
    """The packs of one stream, without end."""

    def __init__(self, name: str, share: int, sizes: Ints, seed: int) -> None:
        self.name = name
        self.share = share
        """Share of the tokens, on the scale of all streams."""
        self.tokens = int(sizes[:, 0].sum())
        """Tokens of an epoch."""
        self._sizes = sizes
        self._seed = seed
        self._epoch = -1
        self.go(0)

    def go(self, taken: int) -> None:
        """To where so many packs were taken."""
        self.taken = taken
        epoch, self._place = divmod(taken, len(self._sizes))
        self._begin(epoch)
        self.given = epoch * self.tokens + sum(self._tokens[: self._place])
        """Tokens of the packs that were taken."""

    @property
    def next_tokens(self) -> int:
        """Tokens of the next pack."""
        return self._tokens[self._place]

    def take(self) -> PackRef:
        """The next pack."""
        place = self._place
        pack = PackRef(self.name, self._order[place], self._tokens[place], self._trained[place])
        self.taken += 1
        self.given += pack.tokens
        self._place += 1
        if self._place == len(self._sizes):
            self._begin(self._epoch + 1)
            self._place = 0
        return pack

    def _begin(self, epoch: int) -> None:
        if epoch != self._epoch:
            self._epoch = epoch
            order = _order(f"{self._seed}/{self.name}/epoch {epoch}", len(self._sizes))
            # Views of arrays, whose items are Python's own numbers: half the time of NumPy's, a quarter of the space of a list.
            self._order = order.data
            self._tokens, self._trained = (np.ascontiguousarray(self._sizes[order, column]).data for column in (0, 1))


class HasTokens(Protocol):
    """A pack, or what stands for one."""

    @property
    def tokens(self) -> int:
        """How many it has."""


_Item = TypeVar("_Item", bound=HasTokens)


def share(packs: Sequence[_Item], rank: int, ranks: int) -> list[_Item]:
    """The packs of one rank, in their order; the ranks together have each pack once, and about the same number of tokens.

    The largest pack goes first, each to the rank that has fewest tokens (R. Graham, Bounds on multiprocessing timing anomalies,
    1969); the loads differ by at most one pack. With fewer packs than ranks some have none.
    """
    loads = [(0, other) for other in range(ranks)]
    mine = []
    for place in sorted(range(len(packs)), key=lambda place: packs[place].tokens, reverse=True):
        load, other = heappop(loads)
        heappush(loads, (load + packs[place].tokens, other))
        if other == rank:
            mine.append(place)
    return [packs[place] for place in sorted(mine)]


def _check(contents: Contents, weights: Mapping[str, float]) -> None:
    trained = {corpus_of(stream) for stream in contents.training}
    held_out = {corpus_of(stream) for stream in contents.held_out}
    known = sorted(trained | held_out | set(contents.dropped))
    if not known:
        raise DataError("there are no corpora, thus nothing to train")
    for corpus in weights:
        if corpus not in known:
            raise DataError(f"weights name the corpus {corpus!r}, which is not there; there are {', '.join(known)}")
    for corpus in known:
        if corpus not in trained:
            reasons = [f"{count} rows dropped by {reason}" for reason, count in contents.dropped.get(corpus, {}).items()]
            if corpus in held_out:
                reasons.append("all that is left is held out")
            raise DataError(f"corpus {corpus!r} has nothing to train: {', '.join(reasons) or 'it has no rows'}")


def _shares(contents: Contents, weights: Mapping[str, float], temperature: float) -> dict[str, float]:
    tokens = {stream: int(sizes[:, 0].sum()) for stream, sizes in sorted(contents.training.items())}
    tempered = {stream: count**temperature for stream, count in tokens.items()}
    corpora: dict[str, list[str]] = {}
    for stream in tokens:
        corpora.setdefault(corpus_of(stream), []).append(stream)
    sizes = {
        corpus: weights[corpus] if corpus in weights else sum(tokens[stream] for stream in streams)
        for corpus, streams in corpora.items()
    }
    whole = sum(sizes.values())
    return {
        stream: sizes[corpus] / whole * tempered[stream] / sum(tempered[other] for other in streams)
        for corpus, streams in corpora.items()
        for stream in streams
    }


def _order(key: str, count: int) -> Ints:
    """A permutation by `key`, from raw bits: NumPy's own permutations may change with its version."""
    bits = np.random.Philox(key=int.from_bytes(hashlib.sha256(key.encode()).digest()[:16], "little"))
    order: Ints = np.argsort(bits.random_raw(count), kind="stable")
    return order
