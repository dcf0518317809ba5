"""Choices by a row's id: the same in every run, in any order and for any split into batches."""

import random

import xxhash


def chooser(seed: int, purpose: str, key: str) -> random.Random:
    """A generator for one purpose and row; what it draws depends on the three arguments alone."""
    return random.Random(xxhash.xxh3_64_intdigest(f"{seed}/{purpose}/{key}".encode()))
