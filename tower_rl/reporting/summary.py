"""Figures that the screen and the report both show, computed from metric rows and panels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from tower_rl.reporting.panel import Panel, PanelScore, panel_scores

PHASES = ("wait", "generate", "verify", "reference", "data", "train", "sync")
"""Parts of a step whose seconds stand in the rows as `time/PHASE`."""
VALIDATION_COLUMNS = ("held out", "before", "after", "change")
MIXTURE_COLUMNS = ("stream", "asked", "realised", "epochs")
EDGE = 5
"""How many first and last steps a comparison averages."""

Row = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Change:
    """A mean over the first steps and over the last steps."""

    first: float
    last: float


def reward_names(rows: Sequence[Row]) -> list[str]:
    """The verifiers with a column `reward/NAME`, sorted; the means over all are none of them."""
    keys = {key for row in rows for key in row if key.startswith("reward/")}
    return sorted(key.removeprefix("reward/") for key in keys - {"reward/mean", "reward/shaped"})


def change(rows: Sequence[Row], key: str) -> Change | None:
    """Means of a metric over its first five and last five values; None without values. Below ten rows the two overlap."""
    values = [float(row[key]) for row in rows if row.get(key) is not None]
    return Change(fmean(values[:EDGE]), fmean(values[-EDGE:])) if values else None


def reward_changes(rows: Sequence[Row]) -> dict[str, Change]:
    """First against last steps of the mean reward (key `mean`) and of each verifier's reward."""
    changes = {name: change(rows, f"reward/{name}") for name in ["mean", *reward_names(rows)]}
    return {name: value for name, value in changes.items() if value is not None}


def panel_changes(before: Panel, after: Panel) -> dict[str, tuple[PanelScore, PanelScore]]:
    """The figures of each verifier that both panels have."""
    first, last = panel_scores(before), panel_scores(after)
    return {name: (first[name], last[name]) for name in first if name in last}


def tokens_per_second(rows: Sequence[Row]) -> float | None:
    """Generated tokens over the seconds of whole steps; None where no row has both."""
    timed = [row for row in rows if row.get("tokens_generated") is not None and row.get("time/step")]
    return sum(row["tokens_generated"] for row in timed) / sum(row["time/step"] for row in timed) if timed else None


def validation_table(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """For each held-out stream, each corpus and all: loss of the first and of the last validation, and their difference."""
    if not rows:
        return []
    first, last = rows[0], rows[-1]
    names = [key for key in first if key.startswith("loss") and first[key] is not None and last.get(key) is not None]
    return [
        (key.removeprefix("loss/"), f"{first[key]:.4f}", f"{last[key]:.4f}", f"{last[key] - first[key]:+.4f}")
        for key in sorted(names)
    ]


def mixture_table(rows: Sequence[Row]) -> list[tuple[str, str, str, str]]:
    """For each corpus and each stream of it: share asked for, share realised and epochs, up to the last step."""
    last = rows[-1] if rows else {}
    names = [key.removeprefix("mixture/").removesuffix("/asked") for key in last if key.endswith("/asked")]
    return [
        (
            name,
            f"{last[f'mixture/{name}/asked']:.1%}",
            f"{last[f'mixture/{name}/realised']:.1%}",
            f"{last[f'mixture/{name}/epochs']:.2f}",
        )
        for name in sorted(names)
    ]
