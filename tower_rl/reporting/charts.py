"""Line charts and stacked bars as inline SVG. Colours are the CSS variables --c0 .. --c7 of the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from tower_rl.reporting.markup import Markup, joined, tag

WIDTH, HEIGHT = 420.0, 220.0
LEFT, RIGHT, TOP, BOTTOM = 52.0, 10.0, 10.0, 26.0
COLOURS = 8
MOST_POINTS = 300
MOST_BARS = 100

Point = tuple[float, float]
"""Step as people count, from 1, and value."""


@dataclass(frozen=True, slots=True)
class Scale:
    """Data to pixels: the steps `x0..x1` and the values `y0..y1` fill the plot."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, step: float) -> float:
        """Pixel of a step."""
        return LEFT + (step - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        """Pixel of a value."""
        return HEIGHT - BOTTOM - (value - self.y0) / (self.y1 - self.y0) * (HEIGHT - TOP - BOTTOM)


def line_chart(title: str, series: Mapping[str, Sequence[Point]], from_zero: bool = False) -> Markup:
    """A figure with one line a series; empty when no series has a point. A chart of one series has no legend."""
    thinned = {name: thin(points, MOST_POINTS) for name, points in series.items() if points}
    if not thinned:
        return Markup()
    steps = [step for points in thinned.values() for step, _ in points]
    values = [value for points in thinned.values() for _, value in points] + ([0.0] if from_zero else [])
    ticks = nice_ticks(min(values), max(values))
    scale = Scale(min(steps), max(max(steps), min(steps) + 1), ticks[0], ticks[-1])
    lines = [_line(scale, name, points, index) for index, (name, points) in enumerate(thinned.items())]
    # The first series is the important one: it is drawn last, on top.
    return _figure(title, list(thinned) if len(thinned) > 1 else [], [_axes(scale, ticks), *reversed(lines)])


def stacked_bars(title: str, series: Mapping[str, Sequence[Point]]) -> Markup:
    """A figure with one bar a step, the series on top of each other; empty when no series has a point."""
    thinned = {name: thin(points, MOST_BARS) for name, points in series.items() if points}
    if not thinned:
        return Markup()
    totals: dict[float, float] = {}
    bars: list[tuple[str, int, float, float, float]] = []
    for index, (name, points) in enumerate(thinned.items()):
        for step, value in points:
            base = totals.get(step, 0.0)
            totals[step] = base + value
            bars.append((name, index, step, base, value))
    ticks = nice_ticks(0.0, max(totals.values()))
    half = (max(totals) - min(totals)) / max(1, len(totals) - 1) / 2 or 0.5
    scale = Scale(min(totals) - half, max(totals) + half, ticks[0], ticks[-1])
    width = (scale.x(2 * half) - scale.x(0)) * 0.85
    shapes = [
        tag(
            "rect",
            tag("title", f"step {step:g}, {name}: {value:.3g} s"),
            x=scale.x(step) - width / 2,
            y=scale.y(base + value),
            width=width,
            height=scale.y(base) - scale.y(base + value),
            style=f"fill:{_colour(index)}",
        )
        for name, index, step, base, value in bars
    ]
    return _figure(title, list(thinned), [_axes(scale, ticks), *shapes])


def thin(points: Sequence[Point], limit: int) -> list[Point]:
    """At most `limit` points: neighbours are averaged, so that a long run still makes a small page."""
    size = math.ceil(len(points) / limit) or 1
    chunks = [points[start : start + size] for start in range(0, len(points), size)]
    return [(fmean(step for step, _ in chunk), fmean(value for _, value in chunk)) for chunk in chunks]


def nice_ticks(low: float, high: float) -> list[float]:
    """Three to seven round numbers, evenly spaced, from at most `low` to at least `high`."""
    # A constant gets a band around it; far from 0 the band must be wide enough for floats to tell the ticks apart.
    if high - low <= 1e-9 * max(abs(low), abs(high)):
        spread = abs(low) * 0.1 or 1.0
        low, high = low - spread, high + spread
    raw = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(raw))
    unit = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= raw * 0.999)
    first, last = math.floor(low / unit + 1e-9), math.ceil(high / unit - 1e-9)
    return [number * unit for number in range(first, last + 1)]


def _line(scale: Scale, name: str, points: Sequence[Point], index: int) -> Markup:
    path = " ".join(f"{scale.x(step):.1f},{scale.y(value):.1f}" for step, value in points)
    style = f"stroke:{_colour(index)}"
    last_step, last_value = points[-1]
    end = tag(
        "circle",
        tag("title", f"{name}, step {last_step:g}: {last_value:.4g}"),
        cx=scale.x(last_step),
        cy=scale.y(last_value),
        r=3,
        style=f"fill:{_colour(index)}",
    )
    return joined([tag("polyline", points=path, style=style, class_="main" if index == 0 else "other"), end])


def _axes(scale: Scale, ticks: Sequence[float]) -> Markup:
    digits = max(0, min(6, -math.floor(math.log10(ticks[1] - ticks[0]) + 1e-9) + 1))
    rows = [
        joined(
            [
                tag("line", x1=LEFT, x2=WIDTH - RIGHT, y1=scale.y(tick), y2=scale.y(tick), class_="grid"),
                tag("text", number(tick, digits), x=LEFT - 6, y=scale.y(tick) + 4, text_anchor="end"),
            ]
        )
        for tick in ticks
    ]
    steps = [step for step in nice_ticks(scale.x0, scale.x1) if scale.x0 <= step <= scale.x1 and step == int(step)]
    columns = [tag("text", f"{step:g}", x=scale.x(step), y=HEIGHT - 8, text_anchor="middle") for step in steps]
    return joined([*rows, *columns])


def number(value: float, digits: int) -> str:
    """A tick label: fixed digits without trailing zeros, powers of ten where those would be all zeros or too long."""
    if value and not 1e-3 <= abs(value) < 1e5:
        return f"{value:.1e}".replace(".0e", "e").replace("e-0", "e-").replace("e+0", "e")
    text = f"{value:.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _figure(title: str, legend: Sequence[str], shapes: Sequence[Markup]) -> Markup:
    entries = [
        tag("span", tag("i", style=f"background:{_colour(index)}"), name, class_="key") for index, name in enumerate(legend)
    ]
    return tag(
        "figure",
        tag("figcaption", tag("b", title), *entries),
        tag("svg", *shapes, viewBox=f"0 0 {WIDTH:g} {HEIGHT:g}", role="img", aria_label=title),
    )


def _colour(index: int) -> str:
    return f"var(--c{index % COLOURS})"
