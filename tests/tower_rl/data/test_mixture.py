"""The mixture: shares at every prefix, epochs, order, resuming, ranks."""

import json
from collections import Counter, defaultdict
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.data.mixture import Mixture, share
from tower_rl.data.packs import Contents, PackRef, corpus_of
from tower_rl.data.rows import DataError

DEFAULTS = {"weights": {}, "language_temperature": 1.0, "seed": 0, "tokens_per_step": 100}


def contents(sizes: dict[str, list[int]], held_out: dict[str, list[int]] | None = None, **dropped: dict[str, int]) -> Contents:
    """Streams by the tokens of their packs, of which all but one are trained."""
    sides = (
        {name: np.array([[tokens, tokens - 1] for tokens in packs]) for name, packs in side.items()}
        for side in (sizes, held_out or {})
    )
    return Contents("digest", *sides, dropped)


def mixture(sizes: dict[str, list[int]], **options: object) -> Mixture:
    return Mixture(contents(sizes), **DEFAULTS | options)  # type: ignore[arg-type]


def run(mixed: Mixture, steps: int) -> list[PackRef]:
    return [ref for number in range(steps) for ref in mixed.step(number)]


def test_shares_by_hand() -> None:
    sizes = {"web/de": [90], "web/fr": [10], "chat/en": [60, 40]}
    assert mixture(sizes).shares == pytest.approx({"web/de": 0.45, "web/fr": 0.05, "chat/en": 0.5})
    assert mixture(sizes, language_temperature=0.0).shares == pytest.approx({"web/de": 0.25, "web/fr": 0.25, "chat/en": 0.5})
    # 9 ** 0.5 to 1 ** 0.5
    half = mixture(sizes, language_temperature=0.5, weights={"web": 3.0, "chat": 1.0}).shares
    assert half == pytest.approx({"web/de": 0.75 * 3 / 4, "web/fr": 0.75 / 4, "chat/en": 0.25})
    # A corpus without a weight has its 100 tokens.
    assert mixture(sizes, weights={"chat": 300.0}).shares == pytest.approx({"web/de": 0.225, "web/fr": 0.025, "chat/en": 0.75})


def test_order_by_hand() -> None:
    """Packs of one token, shares 1/2, 1/4, 1/4: of those not ahead the one that is due first, after 2, 4, 6, ... / 4, 8, ..."""
    mixed = mixture({"a/": [1] * 60, "b/": [1] * 60, "c/": [1] * 60}, weights={"a": 2.0, "b": 1.0, "c": 1.0}, tokens_per_step=1)
    assert [corpus_of(ref.stream) for ref in run(mixed, 8)] == ["a", "b", "a", "c", "a", "b", "a", "c"]


streams = st.dictionaries(
    st.sampled_from(["a/de", "a/fr", "a/ja", "b/de", "b/en", "c/"]),
    st.lists(st.integers(1, 40), min_size=1, max_size=9),
    min_size=1,
)
weights = st.fixed_dictionaries({}, optional={name: st.floats(1e-3, 1e3) for name in "abc"})


@settings(max_examples=40, deadline=None)
@given(streams, weights, st.floats(0, 1), st.integers(0, 5))
def test_shares_are_met_within_one_pack_at_every_prefix(
    sizes: dict[str, list[int]], by_corpus: dict[str, float], temperature: float, seed: int
) -> None:
    named = {corpus: weight for corpus, weight in by_corpus.items() if corpus in set(map(corpus_of, sizes))}
    mixed = mixture(sizes, weights=named, language_temperature=temperature, seed=seed, tokens_per_step=60)
    largest = max(max(packs) for packs in sizes.values())
    given_out, total = Counter[str](), 0
    for ref in run(mixed, 30):
        given_out[ref.stream] += ref.tokens
        total += ref.tokens
        for name, asked in mixed.shares.items():
            assert abs(given_out[name] - asked * total) <= largest + 1e-6


@settings(max_examples=40, deadline=None)
@given(streams, st.integers(0, 5))
def test_each_epoch_of_a_stream_has_each_of_its_packs_once(sizes: dict[str, list[int]], seed: int) -> None:
    places = defaultdict(list)
    for ref in run(mixture(sizes, seed=seed), 40):
        places[ref.stream].append(ref.place)
        assert (ref.tokens, ref.trained) == (sizes[ref.stream][ref.place], sizes[ref.stream][ref.place] - 1)
    for name, listed in places.items():
        count = len(sizes[name])
        epochs = [listed[start : start + count] for start in range(0, len(listed), count)]
        assert all(sorted(epoch) == list(range(count)) for epoch in epochs[:-1])
        assert len(set(epochs[-1])) == len(epochs[-1])


def test_epochs_and_seeds_differ_in_order() -> None:
    def epochs(seed: int) -> list[list[int]]:
        places = [ref.place for ref in run(mixture({"a/": [10] * 50}, seed=seed), 10)]
        return [places[:50], places[50:]]

    assert epochs(0) == epochs(0)
    orders = [*epochs(0), *epochs(1)]
    assert all(left != right for left, right in pairwise(orders))
    assert all(sorted(order) == list(range(50)) for order in orders)


def test_the_order_never_changes_with_versions() -> None:
    """Written down once: a resumed run must find the same packs after an upgrade of Python or NumPy."""
    assert [ref.place for ref in mixture({"a/de": [10] * 10}, seed=7).step(0)] == [6, 9, 2, 5, 4, 7, 0, 8, 3, 1]


@settings(max_examples=40, deadline=None)
@given(streams, st.integers(1, 40))
def test_a_step_is_as_close_to_its_tokens_as_whole_packs_are(sizes: dict[str, list[int]], tokens_per_step: int) -> None:
    refs = run(mixture(sizes, tokens_per_step=1), 250)  # a pack a step: the sequence itself
    mixed = mixture(sizes, tokens_per_step=tokens_per_step)
    start = 0
    for number in range(5):
        ends = np.cumsum([ref.tokens for ref in refs[start:]])
        best = int(np.abs(ends - tokens_per_step)[::-1].argmin())  # the last of equally good ones
        step = mixed.step(number)
        assert step == refs[start : start + len(ends) - best]
        start += len(step)


@settings(max_examples=40, deadline=None)
@given(streams, st.integers(0, 12), st.integers(0, 3))
def test_resuming_at_any_step_is_as_if_uninterrupted(sizes: dict[str, list[int]], at: int, seed: int) -> None:
    whole = mixture(sizes, seed=seed)
    steps = [whole.step(number) for number in range(20)]
    metrics = whole.metrics()
    first = mixture(sizes, seed=seed)
    for number in range(at):
        first.step(number)
    state = json.loads(json.dumps(first.state_dict()))
    second = mixture(sizes, seed=seed)
    second.load_state_dict(state)
    assert second.state_dict() == state
    assert [second.step(number) for number in range(at, 20)] == steps[at:]
    assert second.metrics() == metrics
    assert [second.step(number) for number in (19, 3, 3, 11, 0)] == [steps[number] for number in (19, 3, 3, 11, 0)]


@pytest.mark.parametrize("change", [{"seed": 1}, {"weights": {"a": 0.1}}, {"tokens_per_step": 99}, {"language_temperature": 0.0}])
def test_a_changed_mixture_does_not_resume(change: dict[str, object]) -> None:
    sizes = {"a/de": [3, 4], "a/fr": [5], "b/": [6]}
    state = mixture(sizes).state_dict()
    with pytest.raises(DataError, match="the packs are not those of the checkpoint"):
        mixture(sizes, **change).load_state_dict(state)


def test_metrics_by_hand() -> None:
    mixed = mixture({"a/de": [10] * 4, "a/fr": [10] * 2, "b/": [10]}, weights={"a": 1.0, "b": 1.0}, tokens_per_step=60)
    assert set(mixed.metrics().values()) == {0.0, 0.5, 1 / 3, 1 / 6}  # nothing was given yet
    mixed.step(1)  # 12 packs: 4, 2 and 6
    assert mixed.metrics() == pytest.approx(
        {
            "mixture/a/asked": 0.5,
            "mixture/a/realised": 0.5,
            "mixture/a/epochs": 1.0,
            "mixture/a/de/asked": 1 / 3,
            "mixture/a/de/realised": 1 / 3,
            "mixture/a/de/epochs": 1.0,
            "mixture/a/fr/asked": 1 / 6,
            "mixture/a/fr/realised": 1 / 6,
            "mixture/a/fr/epochs": 1.0,
            "mixture/b/asked": 0.5,
            "mixture/b/realised": 0.5,
            "mixture/b/epochs": 6.0,
            "mixture/b//asked": 0.5,
            "mixture/b//realised": 0.5,
            "mixture/b//epochs": 6.0,
        }
    )


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 1000), max_size=40), st.integers(1, 5))
def test_ranks_share_a_step_evenly_and_have_each_pack_once(tokens: list[int], ranks: int) -> None:
    refs = [PackRef("a/", place, count, 0) for place, count in enumerate(tokens)]
    parts = [share(refs, rank, ranks) for rank in reversed(range(ranks))]
    assert sorted(ref.place for part in parts for ref in part) == list(range(len(refs)))
    assert all([ref.place for ref in part] == sorted(ref.place for ref in part) for part in parts)
    loads = [sum(ref.tokens for ref in part) for part in parts]
    assert max(loads) - min(loads) <= max(tokens, default=0)
    assert share(refs, 0, 1) == refs


def test_equal_packs_are_dealt_out_equally() -> None:
    refs = [PackRef("a/", place, 10, 0) for place in range(8)]
    assert [len(share(refs, rank, 4)) for rank in range(4)] == [2, 2, 2, 2]
    assert [len(share(refs[:2], rank, 3)) for rank in range(3)] == [1, 1, 0]


def test_the_batch_does_not_depend_on_the_number_of_ranks() -> None:
    sizes = {"a/de": [30, 20, 10, 25], "b/": [9, 8, 7]}
    for number in range(6):
        batches = []
        for ranks in (1, 2, 3):
            parts = [share(mixture(sizes).step(number), rank, ranks) for rank in range(ranks)]
            batches.append(sorted((ref.stream, ref.place) for part in parts for ref in part))
        assert batches[0] == batches[1] == batches[2]


def test_held_out_packs_are_few_fixed_and_not_those_of_training() -> None:
    given_packs = contents({"a/de": [5]}, {"a/de": list(range(1, 31)), "a/fr": [7]})
    panels = [Mixture(given_packs, **DEFAULTS | {"seed": seed}).held_out(4) for seed in (0, 1)]  # type: ignore[arg-type]
    assert panels[0] == panels[1]
    assert {name: len(refs) for name, refs in panels[0].items()} == {"a/de": 4, "a/fr": 1}
    assert all(ref.held_out and ref.tokens == ref.place + 1 for ref in panels[0]["a/de"])
    assert len({ref.place for ref in panels[0]["a/de"]}) == 4
    assert panels[0]["a/fr"] == [PackRef("a/fr", 0, 7, 6, held_out=True)]


@pytest.mark.parametrize(
    ("given_packs", "options", "message"),
    [
        (contents({}), {}, "there are no corpora"),
        (contents({"a/": [1]}), {"weights": {"b": 1.0}}, "the corpus 'b', which is not there; there are a"),
        (
            contents({"a/": [1]}, b={"cleaning: language": 7, "tokenize: too long": 2}),
            {},
            "corpus 'b' has nothing to train: 7 rows dropped by cleaning: language, 2 rows dropped by tokenize: too long",
        ),
        (contents({"a/": [1]}, {"b/de": [3]}), {}, "corpus 'b' has nothing to train: all that is left is held out"),
        (contents({"a/": [1]}, b={}), {}, "corpus 'b' has nothing to train: it has no rows"),
    ],
)
def test_mixtures_that_cannot_be(given_packs: Contents, options: dict[str, object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        Mixture(given_packs, **DEFAULTS | options)  # type: ignore[arg-type]
