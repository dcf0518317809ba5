"""What the screen and the report both say of preference training: lines and rows of tables."""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tower_rl.reporting.length_bias import scopes, short_name
from tower_rl.reporting.summary import change
from tower_rl.reporting.text import figure

SIDES = ("chosen", "rejected")
LANGUAGE_COLUMNS = ("language pair", "pairs", "chosen longer", "length gap", "score gap", "correlation")
ORIGIN_COLUMNS = ("origin", "chosen", "share", "rejected", "share")
ROUND_COLUMNS = (
    *("round", "prompts", "pairs", "held out", "longer", "shorter", "chosen", "rejected"),
    *("length gap", "score gap", "correlation"),
)
ROUND_TITLE = "Length bias: chosen answer longer or shorter, mean tokens, gaps (chosen less rejected)"
TRAINING_COLUMNS = ("training", "first 5 steps", "last 5 steps", "change")
HELD_OUT_COLUMNS = ("held-out pairs", "before", "after", "change")
TRAINING = (
    ("loss", "loss", ".4f"),
    ("accuracy", "accuracy", ".1%"),
    ("reward margin", "reward_margin", ".4f"),
    ("log-prob of chosen (nats)", "logprob/chosen", ".2f"),
    ("log-prob of rejected (nats)", "logprob/rejected", ".2f"),
    ("NLL of chosen (nats a token)", "nll", ".4f"),
)
"""Label, key and format of what both training and validation measure."""

MOST_ORIGINS = 8
"""Origins that are named; the rest count together."""

Row = Mapping[str, Any]
Cells = tuple[str, ...]


def latest(rounds: Sequence[Row]) -> list[Row]:
    """The last row of each round: a round that is done again has another."""
    return list({row["round"]: row for row in rounds}.values())


def step_line(row: Row, total: int) -> str:
    """One line, its step counted from 1; the mean weight only where there is a weighting.

    For example `step 12/60  loss 0.6412  accuracy 62.5%  margin +0.110  grad 1.25  lr 5.00e-07  3.1 pairs/s  8.0 s`.
    """
    parts = [
        f"step {row['step'] + 1:>{len(str(total))}}/{total}",
        f"loss {figure(row['loss'], '.4f')}",
        f"accuracy {figure(row['accuracy'], '.1%')}",
        f"margin {figure(row['reward_margin'], '+.3f')}",
        f"weight {figure(row['weight/mean'], '.3f')}" if "weight/mean" in row else "",
        f"grad {figure(row['grad_norm'], '.2f')}",
        f"lr {figure(row['learning_rate'], '.2e')}",
        f"{figure(pairs_per_second(row), '.1f')} pairs/s",
        f"{figure(row['time/step'], '.1f')} s",
    ]
    return "  ".join(part for part in parts if part)


def validation_line(row: Row) -> str:
    """One line for a validation on held-out pairs."""
    return (
        f"{row['pairs']} held-out pairs after {row['step']} steps  loss {figure(row['loss'], '.4f')}  "
        f"accuracy {figure(row['accuracy'], '.1%')}  margin {figure(row['reward_margin'], '+.3f')}  "
        f"log-prob chosen {figure(row['logprob/chosen'], '.2f')} rejected {figure(row['logprob/rejected'], '.2f')}"
    )


def pairs_per_second(row: Row) -> float | None:
    """Of whole steps; None where one of the two figures is missing."""
    return row["pairs"] / row["time/step"] if row.get("pairs") is not None and row.get("time/step") else None


def round_title(row: Row) -> str:
    """How many pairs a round has, and of how many prompts."""
    return f"Round {row['round']}: {row['prompts']} prompts, {row['pairs']} pairs, {row['held_out']} held out"


def seconds_line(row: Row) -> str:
    """The seconds of the parts of building the pairs of a round; empty when none is known."""
    parts = (key.removeprefix("time/") for key in row if key.startswith("time/") and row[key] is not None)
    return ", ".join(f"{part} {row[f'time/{part}']:.1f} s" for part in parts)


def language_table(statistics: Row) -> list[Cells]:
    """For all pairs and for each language pair: how many, and what tells of length bias; nothing without pairs."""
    if not statistics["pairs"]:
        return []
    return [_language_row(name, gaps) for name, gaps in scopes(statistics)]


def origins_line(side: str, statistics: Row) -> str:
    """Who made the answers of a side, the most frequent first: `chosen: 25.0% on policy (30 post_edit, 10 policy@0)`."""
    listed = _listed(_frequent(statistics[f"{side}_origins"]))
    return f"{side}: {figure(statistics[f'{side}_on_policy'], '.1%')} on policy ({listed or 'no pairs'})"


def origin_table(statistics: Row) -> list[Cells]:
    """Who made the answers of either side, and the policy's share of them, all versions together; nothing without pairs."""
    pairs, sides = statistics["pairs"], [statistics[f"{side}_origins"] for side in SIDES]
    if not pairs:
        return []
    ranked = [name for name, _ in _ranked(sum(map(Counter, sides), Counter()))]
    rows = [(short_name(name), [side.get(name, 0) for side in sides]) for name in ranked[:MOST_ORIGINS]]
    if rest := ranked[MOST_ORIGINS:]:
        rows.append((f"{len(rest)} other origins", [sum(side.get(name, 0) for name in rest) for side in sides]))
    shares = [figure(statistics[f"{side}_on_policy"], ".1%") for side in SIDES]
    return [("on policy, all versions", "", shares[0], "", shares[1]), *(_origin_row(*row, pairs) for row in rows)]


def dropped_line(statistics: Row) -> str:
    """What was not used, by reason, the most frequent first."""
    return f"dropped: {_listed(_ranked(statistics['dropped'])) or 'nothing'}"


def dropped_table(statistics: Row) -> list[Cells]:
    """What was not used: reason and number, the most frequent first."""
    return [(short_name(reason), str(count)) for reason, count in _ranked(statistics["dropped"])]


def round_table(rounds: Sequence[Row]) -> list[Cells]:
    """For each round what tells of length bias."""
    return [_round_row(row, row["statistics"]) for row in latest(rounds)]


def training_table(rows: Sequence[Row]) -> list[Cells]:
    """Means over the first and over the last steps, and their difference."""
    shown = (*TRAINING, ("weight of a pair", "weight/mean", ".4f"))
    found = [(label, change(rows, key), form) for label, key, form in shown]
    return [_change_row(label, edges.first, edges.last, form) for label, edges, form in found if edges is not None]


def held_out_table(validation: Sequence[Row]) -> list[Cells]:
    """The first and the last validation that had pairs, and their difference; the number of pairs tells if they are the same."""
    rows = [row for row in validation if row["pairs"]]
    if not rows:
        return []
    first, last = rows[0], rows[-1]
    number = ("pairs", f"{first['pairs']}", f"{last['pairs']}", "")
    return [*(_change_row(label, first[key], last[key], form) for label, key, form in TRAINING), number]


def _origin_row(name: str, counts: Sequence[int], pairs: int) -> Cells:
    return name, *(cell for count in counts for cell in (str(count), figure(count / pairs, ".1%")))


def _frequent(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    """The most frequent names first, those past MOST_ORIGINS in one."""
    ranked = _ranked(counts)
    rest = ranked[MOST_ORIGINS:]
    others = [(f"of {len(rest)} other origins", sum(count for _, count in rest))] if rest else []
    return [*ranked[:MOST_ORIGINS], *others]


def _ranked(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))


def _listed(counts: Sequence[tuple[str, int]]) -> str:
    return ", ".join(f"{count} {short_name(name)}" for name, count in counts)


def _language_row(name: str, gaps: Row) -> Cells:
    return (
        name,
        str(gaps["pairs"]),
        figure(gaps["chosen_longer"], ".1%"),
        figure(gaps["length_gap"], "+.1f"),
        figure(gaps["score_gap"], "+.3f"),
        figure(gaps["length_score_correlation"], "+.2f"),
    )


def _round_row(row: Row, statistics: Row) -> Cells:
    return (
        *(str(row[key]) for key in ("round", "prompts", "pairs", "held_out")),
        *(figure(statistics[key], ".1%") for key in ("chosen_longer", "chosen_shorter")),
        *(figure(statistics[key], ".1f") for key in ("chosen_length", "rejected_length")),
        figure(statistics["length_gap"], "+.1f"),
        figure(statistics["score_gap"], "+.3f"),
        figure(statistics["length_score_correlation"], "+.2f"),
    )


def _change_row(label: str, first: float | None, last: float | None, form: str) -> Cells:
    difference = None if first is None or last is None else last - first
    return label, figure(first, form), figure(last, form), figure(difference, f"+{form}")
