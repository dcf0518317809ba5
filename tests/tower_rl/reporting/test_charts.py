from itertools import pairwise
from xml.etree import ElementTree

import pytest

from tower_rl.reporting.charts import line_chart, nice_ticks, number, stacked_bars, thin
from tower_rl.reporting.markup import tag


@pytest.mark.parametrize(
    ("low", "high"),
    [(0.0, 1.0), (0.31, 0.72), (-3.0, 12.0), (5.0, 5.0), (0.0, 0.0), (1e-7, 3e-7), (0, 98765.0), (1e9, 1e9 + 1e-3)],
)
def test_ticks_are_even_and_cover_the_values(low: float, high: float) -> None:
    ticks = nice_ticks(low, high)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7
    gaps = [second - first for first, second in pairwise(ticks)]
    assert all(gap == pytest.approx(gaps[0]) and gap > 0 for gap in gaps)


def test_labels_are_short() -> None:
    labels = [number(value, 5) for value in (0.0, 0.5, 20.0, 0.00075, 2e-6, 1e6)]
    assert labels == ["0", "0.5", "20", "7.5e-4", "2e-6", "1e6"]


@pytest.mark.parametrize(
    "points", [[(1.0, 0.5)], [(1.0, 2.0), (2.0, 2.0)], [(float(step), step**2.0) for step in range(1, 2000)]]
)
def test_charts_are_well_formed_and_small(points: list[tuple[float, float]]) -> None:
    for chart in (
        line_chart("a & b", {"<x>": points, "y": points[:1], "none": []}),
        stacked_bars("t", {"p": points, "q": points}),
    ):
        ElementTree.fromstring(chart)
        assert len(chart) < 60_000 and "nan" not in chart and "<x>" not in chart


def test_no_points_make_no_chart() -> None:
    assert line_chart("x", {"a": []}) == "" and stacked_bars("x", {}) == ""


def test_thinning_averages_neighbours() -> None:
    assert thin([(1.0, 0.0), (2.0, 2.0), (3.0, 9.0)], 2) == [(1.5, 1.0), (3.0, 9.0)]
    assert thin([(1.0, 0.0)], 2) == [(1.0, 0.0)]


def test_text_is_escaped_and_markup_is_not() -> None:
    assert tag("p", "<i>", tag("b", "&"), class_='"') == '<p class="&quot;">&lt;i&gt;<b>&amp;</b></p>'
