"""Figures of pairs against a loop and numpy, and shards against the whole."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from preference_rows import pair

from tower_rl.data.preference.statistics import Statistics, statistics
from tower_rl.data.rows import Reject

SCORES = st.one_of(st.none(), st.floats(-10, 10, width=32))
ORIGINS = st.sampled_from(["policy@0", "policy@1", "post_edit", "model:x"])
PAIRS = st.lists(
    st.builds(
        pair,
        chosen=st.integers(1, 50),
        rejected=st.integers(1, 50),
        score=SCORES,
        worse=SCORES,
        origins=st.tuples(ORIGINS, ORIGINS),
        language_pair=st.sampled_from([None, "en-de", "en-fr"]),
    ),
    max_size=12,
)
REJECTS = [Reject("s", "s/1", reason, "") for reason in ("answer: cut", "answer: cut", "pair: no gap")]


def by_hand(pairs):
    x = np.array([len(p.chosen.token_ids) - len(p.rejected.token_ids) for p in pairs])
    scored = [n for n, p in enumerate(pairs) if p.chosen.score is not None and p.rejected.score is not None]
    y = np.array([pairs[n].chosen.score - pairs[n].rejected.score for n in scored])
    varies = len(scored) > 1 and np.ptp(x[scored]) > 0 and np.ptp(y) > 1e-3
    return {
        "pairs": len(pairs),
        "chosen_longer": np.mean(x > 0) if pairs else None,
        "chosen_shorter": np.mean(x < 0) if pairs else None,
        "length_gap": np.mean(x) if pairs else None,
        "chosen_length": np.mean([len(p.chosen.token_ids) for p in pairs]) if pairs else None,
        "rejected_length": np.mean([len(p.rejected.token_ids) for p in pairs]) if pairs else None,
        "scored": len(scored),
        "score_gap": np.mean(y) if scored else None,
        "least_score_gap": y.min() if scored else None,
        "length_score_correlation": np.corrcoef(x[scored], y)[0, 1] if varies else None,
    }


def agree(report, expected):
    for name, figure in expected.items():
        if name == "length_score_correlation" and figure is None:
            continue  # what hardly varies may or may not have one
        assert report[name] == (None if figure is None else pytest.approx(figure, rel=1e-6, abs=1e-6)), name


@settings(deadline=None, max_examples=50)
@given(PAIRS)
def test_figures_against_a_loop(pairs):
    report = statistics(pairs, REJECTS).report()
    agree(report, by_hand(pairs))
    for name, figures in report["languages"].items():
        agree(figures, by_hand([p for p in pairs if (p.prompt.language_pair or "") == name]))
    assert set(report["languages"]) == {p.prompt.language_pair or "" for p in pairs}
    for side in ("chosen", "rejected"):
        origins = [getattr(p, side).origin for p in pairs]
        assert report[f"{side}_origins"] == {origin: origins.count(origin) for origin in origins}
        on_policy = [origin.startswith("policy@") for origin in origins]
        assert report[f"{side}_on_policy"] == (pytest.approx(np.mean(on_policy)) if pairs else None)
    assert report["dropped"] == {"answer: cut": 2, "pair: no gap": 1}
    assert json.loads(json.dumps(report, allow_nan=False)) == report


@settings(deadline=None, max_examples=50)
@given(PAIRS, st.integers(0, 12))
def test_shards_add_up_to_the_whole(pairs, cut):
    shards = [statistics(pairs[:cut], REJECTS[:1]), statistics(pairs[cut:], REJECTS[1:])]
    whole, summed = statistics(pairs, REJECTS).report(), sum(shards, Statistics()).report()
    for report in (whole, summed):  # rounding may make a hardly varying gap vary
        report.pop("length_score_correlation")
        languages = report.pop("languages")
        report |= {f"{name}/{key}": value for name, each in languages.items() for key, value in each.items() if "corr" not in key}
    assert summed.keys() == whole.keys()
    for name, figure in whole.items():
        assert summed[name] == (pytest.approx(figure, rel=1e-9, abs=1e-9) if isinstance(figure, float) else figure), name


def test_correlation_by_hand():
    # length gaps 1, 2, 3 and score gaps 2, 4, 7: covariance 2.5, variances 1 and 19/3
    pairs = [pair(chosen=3 + gap, score=score, worse=0.0) for gap, score in ((1, 2.0), (2, 4.0), (3, 7.0))]
    found = statistics(pairs)
    assert found.report()["length_score_correlation"] == pytest.approx(2.5 / (19 / 3) ** 0.5)
    assert sum([found, statistics([pair(score=None)])], Statistics()).report()["length_score_correlation"] == pytest.approx(
        2.5 / (19 / 3) ** 0.5
    )


@pytest.mark.parametrize("gaps", [[], [(2, 0.1)], [(1, 0.1), (2, 0.1), (3, 0.1)], [(2, 0.1), (2, 0.5)]])
def test_no_correlation_where_one_of_them_does_not_vary(gaps):
    pairs = [pair(chosen=3 + length, score=score) for length, score in gaps]
    assert statistics(pairs).report()["length_score_correlation"] is None


def test_a_length_bias_shows():
    report = statistics([pair(chosen=30, rejected=10)] * 9 + [pair(chosen=8, rejected=10)]).report()
    assert report["chosen_longer"] == 0.9 and report["length_gap"] == 17.8 and report["chosen_length"] == 27.8
