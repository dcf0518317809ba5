"""The section of the report on a preference stage: training, held-out pairs, and what the pairs of each round are like."""

from collections.abc import Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

from tower_rl.data.preference.table import read_pairs
from tower_rl.data.preference.types import Candidate, Pair
from tower_rl.reporting import preference
from tower_rl.reporting.charts import Point, line_chart
from tower_rl.reporting.length_bias import length_warnings
from tower_rl.reporting.markup import Markup, joined, tag
from tower_rl.reporting.parts import (
    Rows,
    block,
    lines,
    minutes,
    phases,
    points,
    points_after,
    shown_step,
    steps_done,
    table,
    tiles,
)
from tower_rl.reporting.rollouts import last_user_message
from tower_rl.reporting.summary import change
from tower_rl.reporting.text import figure

BOTH = (
    ("Loss", "loss"),
    ("Accuracy (chosen has the greater reward)", "accuracy"),
    ("Reward margin (chosen less rejected)", "reward_margin"),
    ("NLL of the chosen answer (nats a token)", "nll"),
)
"""Titles and keys of charts with a line of training and one of held-out pairs."""
SAMPLES = 3
TILES = (("loss", "loss", ".3f"), ("accuracy", "accuracy", ".1%"), ("reward margin", "reward_margin", "+.3f"))


def preference_stage(rows: Rows, validation: Rows, rounds: Rows, planned: int | None) -> Markup:
    """From the rows of metrics.jsonl, validation.jsonl and rounds.jsonl; `planned` is the number of steps, if it is known."""
    rounds = preference.latest(rounds)
    return joined(
        [
            _tiles(rows, rounds, planned) if rows else "",
            _warning(rounds),
            _charts(rows, validation) if rows else "",
            table("Training", preference.TRAINING_COLUMNS, preference.training_table(rows)),
            table("Held-out pairs", preference.HELD_OUT_COLUMNS, preference.held_out_table(validation)),
            table(
                preference.ROUND_TITLE,
                preference.ROUND_COLUMNS,
                preference.round_table(rounds),
            ),
            *map(_round, rounds),
        ]
    )


def sample_pairs(folder: Path, rounds: Rows) -> Markup:
    """The first pairs of the last round, from the folder of all rounds; empty when there are none.

    Raises DataError when the file of pairs cannot be read.
    """
    file = folder / f"round-{rounds[-1]['round']}" / "pairs.parquet" if rounds else folder
    shown = list(islice(read_pairs(file), SAMPLES)) if file.is_file() else []
    if not shown:
        return Markup()
    return joined([tag("h3", f"First pairs of round {rounds[-1]['round']} (not chosen by score)"), *map(_pair, shown)])


def _tiles(rows: Rows, rounds: Rows, planned: int | None) -> Markup:
    values = {"steps": steps_done(rows, planned), "rounds": str(len(rounds)), "pairs": str(sum(row["pairs"] for row in rounds))}
    for name, key, form in TILES:
        if (edges := change(rows, key)) is not None:
            values |= {f"{name}, first 5 steps": format(edges.first, form), f"{name}, last 5 steps": format(edges.last, form)}
    rates = [rate for row in rows if (rate := preference.pairs_per_second(row)) is not None]
    values["pairs per second, last step"] = figure(rates[-1] if rates else None, ".1f")
    values["minutes in steps"] = minutes(rows)
    return tiles(values)


def _warning(rounds: Rows) -> Markup:
    sentences = [sentence for row in rounds for sentence in length_warnings(row)]
    if not sentences:
        return Markup()
    return tag("div", tag("b", "Strong length bias in the pairs"), *(tag("p", text) for text in sentences), class_="warning")


def _charts(rows: Rows, validation: Rows) -> Markup:
    shares = {"under 0.1": "weight/under_0.1", "under 0.5": "weight/under_0.5", "over 1": "weight/over_1"}
    rates = [(shown_step(row), rate) for row in rows if (rate := preference.pairs_per_second(row)) is not None]
    figures = [
        *(line_chart(title, {"training": points(rows, key), "held out": points_after(validation, key)}) for title, key in BOTH),
        line_chart("Log-probability of training answers (nats)", _sides(points, rows, "logprob")),
        line_chart("Log-probability of held-out answers (nats)", _sides(points_after, validation, "logprob")),
        line_chart("Weight of a pair", {"mean": points(rows, "weight/mean"), "standard deviation": points(rows, "weight/std")}),
        line_chart("Share of pairs by their weight", {name: points(rows, key) for name, key in shares.items()}, from_zero=True),
        line_chart("Length (tokens, mean)", _sides(points, rows, "length"), from_zero=True),
        line_chart("Pairs per second", {"pairs per second": rates}, from_zero=True),
        phases(rows),
        *lines(rows),
    ]
    return tag("div", *figures, class_="charts")


def _sides(read: Callable[[Rows, str], list[Point]], rows: Rows, metric: str) -> dict[str, list[Point]]:
    return {side: read(rows, f"{metric}/{side}") for side in preference.SIDES}


def _round(row: Mapping[str, Any]) -> Markup:
    statistics, name = row["statistics"], f"Round {row['round']}"
    return joined(
        [
            tag("h3", preference.round_title(row)),
            tag("p", preference.seconds_line(row), class_="soft"),
            table(f"{name}: by language pair", preference.LANGUAGE_COLUMNS, preference.language_table(statistics)),
            table(f"{name}: who made the answers", preference.ORIGIN_COLUMNS, preference.origin_table(statistics)),
            table(f"{name}: dropped", ("reason", "number"), preference.dropped_table(statistics)),
        ]
    )


def _pair(pair: Pair) -> Markup:
    prompt = pair.prompt
    facts = [prompt.id, prompt.language_pair or "", f"{pair.length_gap:+} tokens", f"score {figure(pair.score_gap, '+.3f')}"]
    sides = tag("div", _answer("chosen", pair.chosen), _answer("rejected", pair.rejected), class_="pair")
    return tag(
        "div", tag("div", " · ".join(filter(None, facts)), class_="head"), block(last_user_message(prompt)), sides, class_="card"
    )


def _answer(side: str, answer: Candidate) -> Markup:
    facts = f" by {answer.origin} · {len(answer.token_ids)} tokens · score {figure(answer.score, '.3f')} {answer.reason}"
    return tag("div", tag("div", tag("b", side), facts, class_="head"), block(answer.text, "response"))
