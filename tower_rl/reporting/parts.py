"""Parts of the report that its sections share."""

from collections.abc import Mapping, Sequence
from typing import Any

from tower_rl.reporting.charts import Point, line_chart, stacked_bars
from tower_rl.reporting.markup import Markup, joined, tag
from tower_rl.reporting.summary import PHASES
from tower_rl.reporting.text import shortened

LINES = (
    ("Learning rate", "learning_rate"),
    ("Tokens per second", "tokens_per_second"),
    ("Share of the measured peak of matrix products", "flops_share"),
    ("Memory of the first rank (GiB)", "memory_gib"),
    ("KL to the reference", "kl"),
    ("Entropy", "entropy"),
    ("Gradient norm", "grad_norm"),
    ("Engine / trainer mismatch, mean (nats)", "mismatch/mean"),
    ("Engine / trainer mismatch, largest (nats)", "mismatch/max"),
    ("Share of tokens outside [0.8, 1.25]", "mismatch/outside"),
    ("Share of invalid verdicts", "invalid_rate"),
    ("Clipped share", "clip_share"),
    ("Response length (tokens)", "length/mean"),
    ("Reward less the penalty for length", "reward/shaped"),
    ("Share of groups without variance", "groups/without_variance"),
    ("Groups sampled", "groups/sampled"),
    ("Prompts passed over", "prompts/skipped"),
)
"""Titles and keys of charts of one line; a stage shows those that its rows have."""

SAMPLE_CHARACTERS = 2000

Rows = Sequence[Mapping[str, Any]]


def tiles(values: Mapping[str, str]) -> Markup:
    """Figures by name, large."""
    each = (tag("div", tag("b", value), tag("span", name), class_="tile") for name, value in values.items())
    return tag("div", *each, class_="tiles")


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table with its title; empty when there are no rows."""
    if not rows:
        return Markup()
    return table_of(title, columns, [tag("tr", *(tag("td", cell) for cell in row)) for row in rows])


def table_of(title: str, columns: Sequence[str], lines: Sequence[Markup]) -> Markup:
    """A table of lines that are elements already."""
    head = tag("tr", *(tag("th", name) for name in columns))
    return joined([tag("h3", title), tag("div", tag("div", tag("table", head, *lines), class_="scroll"), class_="card")])


def points(rows: Rows, key: str) -> list[Point]:
    """The values of a metric by step, counted from 1; none where it is missing or was not a number."""
    return [(shown_step(row), float(row[key])) for row in rows if row.get(key) is not None]


def points_after(validation: Rows, key: str) -> list[Point]:
    """The values of a validation's metric by the number of steps done, so that 12 is where `points` has the 12th step."""
    return [(float(row["step"]), float(row[key])) for row in validation if row.get(key) is not None]


def shown_step(row: Mapping[str, Any]) -> float:
    """The step of a row of metrics.jsonl as people count, from 1; the file counts from 0."""
    return float(row["step"]) + 1


def lines(rows: Rows) -> list[Markup]:
    """A chart for each metric of LINES."""
    return [line_chart(title, {key: points(rows, key)}, from_zero=True) for title, key in LINES]


def phases(rows: Rows) -> Markup:
    """Where the seconds of the steps went."""
    # A phase that a step lacks took no time; bars of all phases must stand at the same steps.
    series = {
        phase: [(shown_step(row), float(row.get(f"time/{phase}") or 0.0)) for row in rows]
        for phase in PHASES
        if points(rows, f"time/{phase}")
    }
    return stacked_bars("Seconds per phase", series)


def minutes(rows: Rows) -> str:
    """Of all steps together."""
    return f"{sum(row.get('time/step') or 0.0 for row in rows) / 60:.1f}"


def steps_done(rows: Rows, planned: int | None) -> str:
    """How many steps are done, and of how many if that is known."""
    return f"{rows[-1]['step'] + 1}" + (f" / {planned}" if planned is not None else "")


def block(text: str, class_: str = "prompt") -> Markup:
    """A prompt or an answer as it was written, not too long."""
    # dir=auto: right-to-left text reads right, and its direction marks end with the element.
    return tag("pre", shortened(text, SAMPLE_CHARACTERS), dir="auto", class_=class_)
