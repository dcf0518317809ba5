from collections.abc import Callable
from io import StringIO

import pytest
from rich.console import Console

from tower_rl.reporting.panel import panel_of
from tower_rl.reporting.progress import Progress, step_line
from tower_rl.reporting.summary import change, tokens_per_second
from tower_rl.reporting.text import printable, shortened, storable
from tower_rl.types import ScoredGroup

GroupMaker = Callable[..., ScoredGroup]
ROW = {
    "step": 3,
    "reward/mean": 0.5,
    "reward/rules": 0.25,
    "kl": 0.001,
    "invalid_rate": 0.02,
    "tokens_generated": 200,
    "time/step": 4.0,
    "time/generate": 3.0,
    "time/sync": 0.5,
}


def test_a_step_is_one_line() -> None:
    expected = "step   4/100  reward 0.500 (rules 0.25)  kl 0.0010  invalid 2.0%  50 tok/s  4.0 s (generate 3.0 sync 0.5)"
    assert step_line(ROW, 100) == expected


def test_missing_figures_are_dashes() -> None:
    row = {"step": 1, "reward/mean": None, "reward/math": None, "kl": None, "time/step": None}
    assert step_line(row, 5) == "step 2/5  reward -- (math --)  kl --  -- s"


@pytest.mark.parametrize("terminal", [True, False])
def test_everything_is_shown_and_nothing_obeyed(make_group: GroupMaker, terminal: bool) -> None:
    out = StringIO()
    console = Console(file=out, force_terminal=terminal, width=120, color_system=None, legacy_windows=False)
    progress = Progress(console)
    hostile = "[bold]x[/bold] \x1b]0;title\x07\x1b[31mred\nnext"
    before = panel_of([make_group("a", "rules", (hostile, 0.25), prompt="Translate.")])
    after = panel_of([make_group("a", "rules", ("gut", 1.0), prompt="Translate.")])
    progress.header("demo", {"model": "[red]tiny[/red]"})
    progress.note("starting Ray ...")
    progress.step(ROW, 10)
    progress.summary([ROW, {**ROW, "step": 4, "reward/mean": 0.75}], before, after, {"report": "/runs/demo/report.html"})
    shown = out.getvalue()
    for part in ("[red]tiny[/red]", "starting Ray", "0.625", "+0.750", "[bold]x[/bold]", "1.00  gut", "/runs/demo/report.html"):
        assert part in shown
    assert "\x1b]" not in shown and "\x1b[31m" not in shown and "\x07" not in shown
    assert "red next" in shown


def test_without_steps_and_panel_only_the_places_are_shown() -> None:
    out = StringIO()
    Progress(Console(file=out)).summary([], [], [], {"report": "r.html"})
    assert out.getvalue() == "\nWhere everything lies:\n  report: r.html\n"


def test_first_and_last_steps() -> None:
    rows = [{"reward/mean": float(number)} for number in range(12)] + [{"reward/mean": None}]
    edges = change(rows, "reward/mean")
    assert edges is not None and (edges.first, edges.last) == (2.0, 9.0)
    assert change(rows, "kl") is None
    assert tokens_per_second([{"tokens_generated": 5}]) is None


def test_joiners_of_real_languages_stay_visible() -> None:
    assert printable("می\u200cشود\x9b\x1b\ta") == "می\u200cشود\ufffd\ufffd\ta"
    assert shortened("abcdef", 2) == "ab … 4 more characters" and shortened("ab", 2) == "ab"
    assert storable("a\ud800é") == "a?é"
