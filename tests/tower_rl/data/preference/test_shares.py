"""Held-out shares and quotas: sizes, and that neither order nor shards nor seeds matter where they should not."""

from collections import Counter
from math import sqrt
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.data.preference.shares import is_held_out, within_quota

IDS = [f"s/{n}" for n in range(4000)]
LANGUAGES = st.lists(st.sampled_from([None, "en-de", "en-fr"]), max_size=30)


def test_the_held_out_share():
    held_out = {name for name in IDS if is_held_out(name, 0.1)}
    assert abs(len(held_out) - 400) < 5 * sqrt(4000 * 0.1 * 0.9)
    assert held_out < {name for name in IDS if is_held_out(name, 0.2)}
    assert not any(is_held_out(name, 0.0) for name in IDS) and all(is_held_out(name, 1.0) for name in IDS)


def test_a_quota_is_drawn_by_the_seed_and_is_no_held_out_share():
    prompts = [(name, "en-de") for name in IDS]
    one, other = (within_quota(prompts, 1000, seed) for seed in (1, 2))
    assert len(one) == len(other) == 1000
    assert abs(len(one & other) - 250) < 5 * sqrt(250 * 0.75)
    held_out = sum(is_held_out(name, 0.25) for name in one)
    assert abs(held_out - 250) < 5 * sqrt(250 * 0.75)


@settings(deadline=None)
@given(LANGUAGES, st.integers(0, 6), st.integers(0, 3), st.integers(0, 3))
def test_a_quota_against_counting(languages, most, seed, order):
    prompts = [*zip(IDS, languages, strict=False)]
    kept = within_quota(prompts, most, seed)
    there, counts = Counter(pair for _, pair in prompts), Counter(pair for name, pair in prompts if name in kept)
    assert counts[None] == there[None]
    assert all(counts[pair] == min(most, there[pair]) for pair in ("en-de", "en-fr"))
    shuffled = Random(order).sample(prompts, len(prompts))
    assert within_quota(shuffled, most, seed) == kept
    first = [one for part in (shuffled[::2], shuffled[1::2]) for one in part if one[0] in within_quota(part, most, seed)]
    assert within_quota(first, most, seed) == kept
    assert kept <= within_quota(prompts, most + 1, seed)
