"""The rules against cases worked by hand, and against a search over all pairs."""

import math
from collections import Counter
from dataclasses import replace
from itertools import permutations
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preference_rows import candidate, candidates

from tower_rl.data.preference.selection import RULES, Selection, select
from tower_rl.types import StopReason

BEST_WORST = Selection("best_worst", max_tokens=100, seed=1)
BEST_RANDOM = replace(BEST_WORST, rule="best_random")
RANKED = replace(BEST_WORST, rule="ranked", order=("post_edit", "policy", "machine"))


def texts(found):
    pair, rejects = found
    assert rejects == [], rejects
    return pair.chosen.text, pair.rejected.text


def reasons(found):
    pair, rejects = found
    assert pair is None
    return [reject.reason for reject in rejects]


def test_the_best_against_the_worst():
    found = select(candidates(candidate("good", 0.5), candidate("best", 0.9), candidate("bad", 0.1)), BEST_WORST)
    assert texts(found) == ("best", "bad")
    assert found[0].length_gap == 0 and found[0].score_gap == 0.8


def test_of_equally_good_answers_the_shortest_is_chosen():
    listed = candidate("long", 0.9, 9), candidate("short", 0.9, 4), candidate("middle", 0.9, 6), candidate("bad", 0.1)
    assert texts(select(candidates(*listed), BEST_WORST)) == ("short", "bad")


def test_of_equally_bad_answers_the_nearest_in_length_is_rejected():
    listed = candidate("best", 0.9, 6), candidate("three longer", 0.1, 9), candidate("two shorter", 0.1, 4)
    assert texts(select(candidates(*listed, candidate("far", 0.1, 1)), BEST_WORST)) == ("best", "two shorter")


def test_length_is_counted_in_tokens():
    listed = candidate("a text of many characters", 0.9, 2), candidate("few", 0.9, 3), candidate("bad", 0.1)
    assert texts(select(candidates(*listed), BEST_WORST)) == ("a text of many characters", "bad")


@pytest.mark.parametrize("rule", sorted(RULES))
def test_answers_that_no_rule_can_tell_apart_are_told_apart_the_same_way_in_any_order(rule):
    good = [candidate(text, 0.9, origin="post_edit") for text in ("a", "b")]
    bad = [candidate(text, 0.1, origin="machine") for text in ("c", "d")]
    found = [select(candidates(*listed), replace(RANKED, rule=rule)) for listed in permutations([*good, *bad])]
    assert all(one == found[0] for one in found)


def test_a_margin():
    listed = candidates(candidate("best", 0.9), candidate("bad", 0.8))
    assert texts(select(listed, replace(BEST_WORST, margin=0.1))) == ("best", "bad")  # in floating point they are nearer
    assert reasons(select(listed, replace(BEST_WORST, margin=0.11))) == ["pair: below the margin"]


def test_equal_scores_prefer_nothing():
    assert reasons(select(candidates(candidate("x", 0.5), candidate("y", 0.5)), BEST_WORST)) == ["pair: no gap"]


def test_who_may_be_chosen_and_rejected():
    edit, machine = candidate("edit", 0.9, origin="post_edit"), candidate("machine", 0.2, origin="machine")
    model, old, new = candidate("model", 0.4, origin="model:x"), candidate("old", 0.7), candidate("new", 0.3, origin="policy@3")
    listed = candidates(edit, machine, model, old, new)

    def found(chosen_from, rejected_from):
        return texts(select(listed, replace(BEST_WORST, chosen_from=chosen_from, rejected_from=rejected_from)))

    assert found((), ()) == ("edit", "machine")
    assert found(("policy",), ()) == ("old", "machine")
    assert found((), ("policy",)) == ("edit", "new")
    assert found(("policy@0",), ("policy@3",)) == ("old", "new")
    assert found(("off_policy",), ("off_policy",)) == ("edit", "machine")
    assert found(("model", "machine"), ("machine", "policy@3")) == ("model", "machine")
    assert found(("model:x",), ()) == ("model", "machine")


def test_sides_for_which_there_is_nobody():
    listed = candidates(candidate("a", 0.9), candidate("b", 0.1, origin="policy@1"))
    assert reasons(select(listed, replace(BEST_WORST, chosen_from=("post_edit",)))) == ["pair: none to choose"]
    assert reasons(select(listed, replace(BEST_WORST, rejected_from=("pol",)))) == ["pair: none to reject"]
    only_the_worse = replace(BEST_WORST, chosen_from=("policy@1",))
    assert reasons(select(listed, only_the_worse)) == ["pair: no gap"]


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        (candidate(" \n", 0.9), "answer: empty", "policy@0: ' \\n'"),
        (candidate("\u200b", 0.9), "answer: empty", "policy@0: '\\u200b'"),
        (candidate("x", 0.9, 0), "answer: empty", "policy@0: 'x'"),
        (candidate("x", 0.9, 99), "answer: over-length", "policy@0: 101 tokens with its prompt, above 100"),
        (candidate("x", 0.9, stop_reason=StopReason.LENGTH), "answer: cut", "policy@0: at 3 tokens"),
        (candidate("x", None, reason="timed out"), "answer: invalid score", "policy@0: timed out"),
        (candidate("x", math.nan), "answer: invalid score", "policy@0: nan"),
        (candidate("x", math.inf), "answer: invalid score", "policy@0: inf"),
    ],
)
def test_an_answer_that_cannot_be_used(bad, reason, detail):
    pair, (reject,) = select(candidates(candidate("a", 0.8), bad, candidate("b", 0.1)), BEST_WORST)
    assert (pair.chosen.text, pair.rejected.text) == ("a", "b")
    assert (reject.source, reject.place, reject.reason, reject.detail) == ("s", "s/1", reason, detail)
    assert reasons(select(candidates(bad, candidate("b", 0.1)), BEST_WORST)) == [reason, "pair: fewer than two answers"]


def test_the_limit_itself_is_allowed():
    assert texts(select(candidates(candidate("a", 0.9, 98), candidate("b", 0.1)), BEST_WORST)) == ("a", "b")


def test_no_candidates():
    assert reasons(select(candidates(), BEST_WORST)) == ["pair: fewer than two answers"]


def test_equal_answers_and_near_duplicates_are_passed_over():
    best, equal, near, far = (
        candidate("caf\u00e9 au lait", 0.9),
        candidate("cafe\u0301 au lait ", 0.1),  # the same in other code points, and a space behind
        candidate("caf\u00e9 au laits", 0.2),  # 10 of 11 runs of three
        candidate("The\u0301", 0.3),
    )
    assert texts(select(candidates(best, equal, near), BEST_WORST)) == (best.text, near.text)
    strict = replace(BEST_WORST, similarity=0.9)
    assert texts(select(candidates(best, equal, near, far), strict)) == (best.text, far.text)
    assert reasons(select(candidates(best, near), strict)) == ["pair: near-duplicates"]
    assert texts(select(candidates(best, near), replace(BEST_WORST, similarity=10 / 11))) == (best.text, near.text)
    assert reasons(select(candidates(best, equal, near), strict)) == ["pair: equal answers"]  # of the one the rule names first


def test_case_and_punctuation_make_a_difference():
    assert texts(select(candidates(candidate("Save file", 1.0), candidate("Save File", 0.0)), BEST_WORST))
    assert texts(select(candidates(candidate("„so“", 1.0), candidate('"so"', 0.0)), BEST_WORST))


def test_a_random_other_is_drawn_evenly_and_by_seed_and_prompt():
    listed = candidate("best", 0.9), *(candidate(name, 0.1 * place) for place, name in enumerate("abc"))

    def drawn(selection):
        return [select(candidates(*listed, name=f"s/{n}"), selection)[0] for n in range(600)]

    first = drawn(BEST_RANDOM)
    assert {pair.chosen.text for pair in first} == {"best"}
    counts = Counter(pair.rejected.text for pair in first)
    assert set(counts) == set("abc") and all(abs(count - 200) < 5 * math.sqrt(600 * 2 / 9) for count in counts.values())
    assert drawn(BEST_RANDOM) == first
    again = drawn(replace(BEST_RANDOM, seed=2))
    same = sum(one == other for one, other in zip(first, again, strict=True))
    assert abs(same - 200) < 5 * math.sqrt(600 * 2 / 9)


def test_a_random_other_is_one_that_is_fit():
    listed = candidate("best", 0.9), candidate("as good", 0.9, 4), candidate("near", 0.85), candidate("bad", 0.2)
    margin = replace(BEST_RANDOM, margin=0.1)
    assert {texts(select(candidates(*listed, name=f"s/{n}"), margin))[1] for n in range(50)} == {"bad"}


def test_an_order_of_origins_needs_no_scores():
    edit, machine = candidate("edit", origin="post_edit"), candidate("raw", origin="machine")
    assert texts(select(candidates(machine, edit), RANKED)) == ("edit", "raw")
    against_it = candidates(replace(edit, score=0.1), replace(machine, score=0.9))
    assert texts(select(against_it, RANKED)) == ("edit", "raw")
    assert reasons(select(candidates(machine, replace(machine, text="other")), RANKED)) == ["pair: no gap"]


def test_an_order_of_origins_and_its_ties():
    edit = candidate("edit", origin="post_edit", length=5)
    samples = [candidate("far", length=9), candidate("near", length=4, origin="policy@2")]
    stranger = candidate("else", origin="model:x")
    pair, (reject,) = select(candidates(*samples, stranger, edit), RANKED)
    assert (pair.chosen.text, pair.rejected.text) == ("edit", "near")
    assert (reject.reason, reject.detail) == ("answer: not in the order", "model:x: post_edit, policy, machine")
    machine = candidate("raw", origin="machine", length=50)
    assert texts(select(candidates(*samples, machine, edit), RANKED)) == ("edit", "raw")
    assert texts(select(candidates(*samples, machine), RANKED)) == ("near", "raw")
    apart = replace(RANKED, margin=2.0)
    assert texts(select(candidates(*samples, machine, edit), apart)) == ("edit", "raw")
    assert reasons(select(candidates(*samples, edit), apart)) == ["pair: below the margin"]


TEXTS = ["", " ", "a", "ab", "abc", "abcd", "abcdefgh", "abcdefgi", "abcdefgh ", "xyz"]
ORIGINS = ["policy@0", "policy@1", "post_edit", "machine", "model:x"]
NAMES = st.lists(st.sampled_from(["policy", "post_edit", "machine", "model"]), max_size=3, unique=True).map(tuple)
ONE = st.builds(
    candidate,
    st.sampled_from(TEXTS),
    st.sampled_from([None, math.nan, 0.0, 0.25, 0.5, 1.0]),
    st.integers(1, 8),
    st.sampled_from(ORIGINS),
    stop_reason=st.sampled_from([StopReason.STOP] * 4 + [StopReason.LENGTH]),
    scores=st.dictionaries(st.sampled_from("vw"), st.sampled_from([math.nan, 0.0, 1.0])),
)
SELECTIONS = st.builds(
    Selection,
    st.sampled_from(sorted(RULES)),
    st.integers(5, 12),
    st.integers(0, 3),
    st.sampled_from([0.0, 0.25, 0.5, 1.0]),
    NAMES,
    NAMES,
    st.sampled_from([0.0, 0.5, 0.9, 1.0]),
    NAMES,
)


def worth(one, selection):
    """What the rule goes by; None for an answer that it cannot use."""
    if not one.text.strip() or one.stop_reason is StopReason.LENGTH or len(one.token_ids) + 2 > selection.max_tokens:
        return None
    if selection.rule == "ranked":
        kind = one.origin.split("@")[0].split(":")[0]
        return -selection.order.index(kind) if kind in selection.order else None
    return None if one.score is None or math.isnan(one.score) else one.score


def grams(text):
    text = text.strip()
    return {text[i : i + 3] for i in range(len(text) - 2)} if len(text) > 2 else {text}


def fits(chosen, other, selection):
    """Whether the two can be a pair."""
    gap = worth(chosen, selection) - worth(other, selection)
    left, right = grams(chosen.text), grams(other.text)
    alike = len(left & right) / len(left | right)
    return chosen.text.strip() != other.text.strip() and gap > 0 and gap >= selection.margin and alike <= selection.similarity


def may(one, names):
    return not names or one.origin.split("@")[0].split(":")[0] in names


@settings(deadline=None, max_examples=200)
@given(st.lists(ONE, max_size=7), SELECTIONS, st.integers(0, 5))
def test_the_pair_is_the_best_by_its_rule_and_the_order_of_candidates_says_nothing(listed, selection, seed):
    pair, rejects = select(candidates(*listed), selection)

    shuffled = Random(seed).sample(listed, len(listed))
    same, others = select(candidates(*shuffled), selection)
    assert repr(same) == repr(pair)  # NaN equals nothing, but reads the same
    assert Counter(others) == Counter(rejects)

    usable = [one for one in listed if worth(one, selection) is not None]
    assert Counter(reject.reason.split(":")[0] for reject in rejects) == Counter(
        answer=len(listed) - len(usable), **({"pair": 1} if pair is None else {})
    )
    fair = [one for one in usable if may(one, selection.chosen_from)]
    # all that are as good as any: none is better, or as good and shorter
    best = [
        one
        for one in fair
        if not any((worth(x, selection), -len(x.token_ids)) > (worth(one, selection), -len(one.token_ids)) for x in fair)
    ]

    def fit(chosen):
        return [x for x in usable if may(x, selection.rejected_from) and fits(chosen, x, selection)]

    if pair is None:
        assert not best or any(not fit(one) for one in best)
        return
    assert pair.chosen in best and pair.rejected in fit(pair.chosen)
    if selection.rule != "best_random":
        for x in fit(pair.chosen):
            assert worth(x, selection) >= worth(pair.rejected, selection)
            if worth(x, selection) == worth(pair.rejected, selection):
                nearer = abs(len(x.token_ids) - len(pair.chosen.token_ids))
                assert nearer >= abs(len(pair.rejected.token_ids) - len(pair.chosen.token_ids))
