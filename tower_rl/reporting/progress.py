"""What a run says on the screen: coloured tables on a terminal, plain lines in a log."""

import sys
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.panel import Panel as Box
from rich.table import Table
from rich.text import Text

from tower_rl.reporting import preference
from tower_rl.reporting.length_bias import length_warnings
from tower_rl.reporting.live import activity, now_and_then, on_terminal
from tower_rl.reporting.panel import Panel, PanelEntry, pairs
from tower_rl.reporting.summary import (
    MIXTURE_COLUMNS,
    PHASES,
    VALIDATION_COLUMNS,
    mixture_table,
    panel_changes,
    reward_changes,
    reward_names,
    tokens_per_second,
    validation_table,
)
from tower_rl.reporting.text import figure, printable, shortened, span

SAMPLES = 3
SAMPLE_CHARACTERS = 160

# Readable on light and dark terminals alike, whatever their colours: dim text vanishes on some, yellow on white.
HEADING = "bold"
NOTE = "italic"
WARNING = "bold magenta"

Cells = Sequence[str]


class Progress:
    """Writes the progress of a run to a console (standard output by default)."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(file=sys.stdout)  # that of now, wherever libraries print to later
        self._position = ""
        """The step that is worked on, and how long the others will take."""
        self._seconds: list[float] = []

    def live(self, logs: Path) -> AbstractContextManager[Any]:
        """Show what goes on, meanwhile: by a line that stands below the others on a terminal, in a log now and then.

        `logs` is the folder in which processes report (tower_rl.status).
        """

        def line() -> str:
            return " · ".join(filter(None, (self._position, activity(logs))))

        return on_terminal(self._console, line) if self._console.is_terminal else now_and_then(self._line, line)

    def header(self, title: str, facts: Mapping[str, str]) -> None:
        """What runs and where: a title, and facts such as model, verifiers, steps, folder."""
        if self._console.is_terminal:
            table = Table.grid(padding=(0, 2))
            for name, value in facts.items():
                table.add_row(Text(name, style=HEADING), Text(printable(value)))
            self._console.print(Box(table, title=Text(printable(title), style=HEADING), expand=False))
        else:
            self._line(title)
            for name, value in facts.items():
                self._line(f"  {name}: {value}")

    def note(self, text: str) -> None:
        """One line about what happens now, e.g. `starting Ray ...`."""
        self._line(text, NOTE)

    def warning(self, text: str) -> None:
        """One line about what is not as it should be, though the run goes on."""
        self._line(f"warning: {text}", WARNING)

    def step(self, row: Mapping[str, Any], total: int) -> None:
        """One line for a step, from its metric row; `total` is the number of steps of the stage."""
        self._line(step_line(row, total))
        self._go_on(row, total)

    def corpora(self, index: Mapping[str, Any]) -> None:
        """What became of the rows of corpora, from the index of a preparation."""
        rows = [
            (name, str(told["read"]), str(told["kept"]), ", ".join(f"{n} {why}" for why, n in told["dropped"].items()) or "none")
            for name, told in index["corpora"].items()
        ]
        self._table("Corpora", ("corpus", "rows read", "kept", "dropped"), rows)

    def supervised_step(self, row: Mapping[str, Any], total: int) -> None:
        """One line for a step of supervised training."""
        self._line(
            f"step {row['step'] + 1:>{len(str(total))}}/{total}  loss {figure(row.get('loss'), '.4f')}  "
            f"grad {figure(row.get('grad_norm'), '.2f')}  lr {row['learning_rate']:.2e}  {row['tokens_per_second']:.0f} tok/s  "
            f"{row['flops_share']:.0%} of peak  {row['time/step']:.1f} s"
        )
        self._go_on(row, total)

    def validation(self, row: Mapping[str, Any]) -> None:
        """One line for a validation."""
        corpora = [key for key in row if key.startswith("loss/") and key.count("/") == 1]
        each = "  ".join(f"{key.removeprefix('loss/')} {figure(row.get(key), '.4f')}" for key in corpora)
        self._line(f"validation after {row['step']} steps  loss {figure(row.get('loss'), '.4f')}  ({each})")

    def supervised_summary(
        self, rows: Sequence[Mapping[str, Any]], validation: Sequence[Mapping[str, Any]], places: Mapping[str, str]
    ) -> None:
        """The end of a supervised stage: validation before and after, shares of the mixture, where everything lies."""
        self._table("Validation loss (nats a token)", VALIDATION_COLUMNS, validation_table(validation))
        self._table("Mixture (shares of tokens)", MIXTURE_COLUMNS, mixture_table(rows))
        self._places(places)

    def pairs(self, row: Mapping[str, Any]) -> None:
        """What the pairs of a round are like, from its row: lengths and scores by language pair, origins, what was dropped."""
        statistics = row["statistics"]
        self._line("")
        self._line(preference.round_title(row), HEADING)
        if seconds := preference.seconds_line(row):
            self._line(seconds, NOTE)
        self._table(f"Pairs of round {row['round']}", preference.LANGUAGE_COLUMNS, preference.language_table(statistics))
        for side in preference.SIDES:
            self._line(preference.origins_line(side, statistics))
        self._line(preference.dropped_line(statistics))
        for warning in length_warnings(row):
            self._line(f"Length bias. {warning}", WARNING)

    def preference_step(self, row: Mapping[str, Any], total: int) -> None:
        """One line for a step on pairs."""
        self._line(preference.step_line(row, total))
        self._go_on(row, total)

    def preference_validation(self, row: Mapping[str, Any]) -> None:
        """One line for a validation on held-out pairs."""
        self._line(preference.validation_line(row))

    def preference_summary(
        self,
        rows: Sequence[Mapping[str, Any]],
        validation: Sequence[Mapping[str, Any]],
        rounds: Sequence[Mapping[str, Any]],
        places: Mapping[str, str],
    ) -> None:
        """The end of a preference stage: training, held-out pairs before and after, length bias, where everything lies."""
        self._table("Training", preference.TRAINING_COLUMNS, preference.training_table(rows))
        self._table("Held-out pairs", preference.HELD_OUT_COLUMNS, preference.held_out_table(validation))
        self._table(preference.ROUND_TITLE, preference.ROUND_COLUMNS, preference.round_table(rounds))
        self._places(places)

    def summary(self, rows: Sequence[Mapping[str, Any]], before: Panel, after: Panel, places: Mapping[str, str]) -> None:
        """The end of a stage: first against last steps, the panel and three samples before and after, where everything lies."""
        rewards = [
            (name, f"{value.first:.3f}", f"{value.last:.3f}", f"{value.last - value.first:+.3f}")
            for name, value in reward_changes(rows).items()
        ]
        self._table("Training reward", ("reward", "first 5 steps", "last 5 steps", "change"), rewards)
        panel = [
            (name, str(first.scored), f"{first.mean:.3f}", f"{last.mean:.3f}", f"{last.mean - first.mean:+.3f}")
            for name, (first, last) in panel_changes(before, after).items()
        ]
        self._table("Held-out panel", ("verifier", "responses", "before", "after", "change"), panel)
        for first, last in pairs(before, after, SAMPLES):
            self._sample(first, last)
        self._places(places)

    def _go_on(self, row: Mapping[str, Any], total: int) -> None:
        """Take down that a step is done."""
        done = int(row["step"]) + 1
        self._seconds.append(row.get("time/step") or 0.0)
        left = (total - done) * median(self._seconds[-5:])
        self._position = f"step {done + 1} of {total}, about {span(left)} left" if done < total else ""

    def _places(self, places: Mapping[str, str]) -> None:
        self._line("")
        self._line("Where everything lies:", HEADING)
        for name, place in places.items():
            self._line(f"  {name}: {place}")  # no table: a folded path cannot be copied

    def _sample(self, before: PanelEntry, after: PanelEntry) -> None:
        self._line("")
        self._line(f"Prompt ({before['verifier']}): {_one_line(before['prompt'])}", HEADING)
        for name, entry in (("before", before), ("after ", after)):
            response = entry["responses"][0]
            score = "  -- " if response["score"] is None else f"{response['score']:5.2f}"
            self._line(f"  {name} {score}  {_one_line(response['text'])}")

    def _table(self, title: str, columns: Cells, rows: Sequence[Cells]) -> None:
        """A table, or the same as aligned plain lines; nothing when there are no rows."""
        if not rows:
            return
        self._line("")
        if self._console.is_terminal:
            table = Table(title=Text(printable(title), style=HEADING), title_justify="left")
            for index, column in enumerate(columns):
                table.add_column(column, justify="right" if index else "left", overflow="fold")
            for row in rows:
                table.add_row(*(Text(printable(cell)) for cell in row))
            self._console.print(table)
        else:
            self._line(f"{title}:")
            widths = [max(len(row[index]) for row in (columns, *rows)) for index in range(len(columns))]
            for row in (columns, *rows):
                self._line("  " + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())

    def _line(self, text: str, style: str = "") -> None:
        # soft_wrap: a log line stays one line. Text: nothing in it is taken for markup.
        self._console.print(Text(printable(text), style=style), soft_wrap=True)


def step_line(row: Mapping[str, Any], total: int) -> str:
    """One line, its step counted from 1.

    For example `step 12/60  reward 0.412 (math 0.20 rules 0.55)  kl 0.0012  215 tok/s  8.1 s (generate 4.2 train 3.1)`.
    """
    rewards = " ".join(f"{name} {figure(row.get(f'reward/{name}'), '.2f')}" for name in reward_names([row]))
    phases = " ".join(f"{name} {row[f'time/{name}']:.1f}" for name in PHASES if row.get(f"time/{name}") is not None)
    rate = tokens_per_second([row])
    parts = [
        f"step {int(row['step']) + 1:>{len(str(total))}}/{total}",
        f"reward {figure(row.get('reward/mean'), '.3f')}" + (f" ({rewards})" if rewards else ""),
        f"kl {figure(row.get('kl'), '.4f')}" if "kl" in row else "",
        f"invalid {row['invalid_rate']:.1%}" if row.get("invalid_rate") else "",
        f"{rate:.0f} tok/s" if rate is not None else "",
        f"{figure(row.get('time/step'), '.1f')} s" + (f" ({phases})" if phases else ""),
    ]
    return "  ".join(part for part in parts if part)


def _one_line(text: str) -> str:
    return shortened(" ".join(text.split()), SAMPLE_CHARACTERS)
