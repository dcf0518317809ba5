"""Which prompts are kept back: by hashes of their ids, so that neither order nor shards make a difference."""

from collections import defaultdict
from collections.abc import Iterable
from heapq import nsmallest

from xxhash import xxh3_64_intdigest


def is_held_out(prompt_id: str, share: float) -> bool:
    """Whether a prompt belongs to the held-out share (0..1): the same in every round and run, and in every larger share."""
    return xxh3_64_intdigest(f"held out/{prompt_id}".encode()) < share * 2**64


def within_quota(prompts: Iterable[tuple[str, str | None]], most: int, seed: int) -> frozenset[str]:
    """The ids of at most `most` prompts of each language pair; those of no language pair are all among them.

    What is kept of the kept of several shards is what is kept of all.

    Args:
        prompts: id and language pair of each.
        most: prompts of a language pair.
        seed: decides which.
    """
    languages: dict[str | None, set[str]] = defaultdict(set)
    for prompt_id, language_pair in prompts:
        languages[language_pair].add(prompt_id)
    free = languages.pop(None, set())

    def rank(prompt_id: str) -> tuple[int, str]:
        return xxh3_64_intdigest(f"{seed}/quota/{prompt_id}".encode()), prompt_id

    return frozenset(free).union(*(nsmallest(most, ids, key=rank) for ids in languages.values()))
