"""Packed rows of tokens: what supervised training reads."""

from collections.abc import Mapping
from dataclasses import dataclass

from tower_rl.types import Ints, Pack

__all__ = ["Contents", "Pack", "PackRef", "corpus_of"]


@dataclass(frozen=True, slots=True)
class PackRef:
    """One pack of a folder, without its tokens."""

    stream: str
    """`CORPUS/LANGUAGE`."""
    place: int
    """Place among the packs of its stream that are for training, or held out."""
    tokens: int
    """All its tokens."""
    trained: int
    """Those that are learned."""
    held_out: bool = False
    """Whether its documents are kept for validation."""


@dataclass(frozen=True, slots=True)
class Contents:
    """What a folder of packs has: all that the order of training depends on."""

    digest: str
    """Of the tokens of all packs and their order."""
    training: Mapping[str, Ints]
    """For each stream that has any, [P, 2] all tokens and learned tokens of its packs."""
    held_out: Mapping[str, Ints]
    """The same for validation."""
    dropped: Mapping[str, Mapping[str, int]]
    """For each corpus of the run, rows that were dropped, by reason."""


def corpus_of(stream: str) -> str:
    """The corpus of a stream: names of corpora have no slash."""
    return stream.partition("/")[0]
