"""Packed rows of tokens: what supervised training reads."""

from dataclasses import dataclass

from tower_rl.types import Bools, Ints


@dataclass(frozen=True, slots=True)
class Pack:
    """Whole documents side by side, at most `sequence_length` tokens; none sees another."""

    token_ids: Ints
    """[N]"""
    trained: Bools
    """[N] whether the token is learned (as a target); False at the first token of each document."""
    lengths: Ints
    """[D] tokens of each document, in order; they add up to N."""
    stream: str
    """`CORPUS/LANGUAGE`."""
