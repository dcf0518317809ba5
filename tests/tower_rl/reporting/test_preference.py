"""What the screen and the report show of preference stages."""

import json
import re
from collections.abc import Sequence
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from preference_rows import pair
from rich.console import Console
from tags import Tags

from tower_rl.data.preference.statistics import statistics
from tower_rl.data.preference.table import write_pairs
from tower_rl.data.rows import Reject
from tower_rl.reporting.html import write_report
from tower_rl.reporting.length_bias import length_warnings
from tower_rl.reporting.metrics import MetricsLog
from tower_rl.reporting.preference import (
    MOST_ORIGINS,
    dropped_line,
    held_out_table,
    language_table,
    latest,
    origin_table,
    origins_line,
    pairs_per_second,
    round_table,
    training_table,
)
from tower_rl.reporting.progress import Progress
from tower_rl.runfolder import StageFolder

HOSTILE = "<img src=x onerror=alert(2)>[bold]\x1b[31m\n\"'&"
WEIGHTS = {"weight/mean": 0.4, "weight/std": 0.1, "weight/under_0.1": 0.05, "weight/under_0.5": 0.7, "weight/over_1": 0.01}


def step(number: int, **rest: Any) -> dict[str, Any]:
    return {
        "step": number,
        "stage": "wpo",
        "attempt": 1,
        "round": 0,
        "epoch": number / 10,
        "loss": 0.69 - number / 100,
        "grad_norm": 1.25,
        "learning_rate": 5e-7,
        "tokens": 4000,
        "pairs": 32,
        "accuracy": 0.5 + number / 50,
        "reward_margin": number / 40,
        "logprob/chosen": -40.0 - number,
        "logprob/rejected": -42.0 - 2 * number,
        "length/chosen": 21.5,
        "length/rejected": 20.0,
        "nll": 1.5,
        "policy_version": number,
        "time/train": 7.0,
        "time/step": 8.0,
    } | rest


def validation(done: int, **rest: Any) -> dict[str, Any]:
    return {
        "step": done,
        "stage": "wpo",
        "attempt": 1,
        "round": 0,
        "loss": 0.6931 - done / 100,
        "accuracy": 0.5,
        "reward_margin": 0.25 * done,
        "logprob/chosen": -40.5,
        "logprob/rejected": -42.25,
        "nll": 1.5,
        "pairs": 64,
    } | rest


def gaps(pairs: int = 100, **rest: Any) -> dict[str, Any]:
    return {
        "pairs": pairs,
        "chosen_longer": 0.52,
        "chosen_shorter": 0.4,
        "length_gap": 1.25,
        "chosen_length": 21.5,
        "rejected_length": 20.25,
        "scored": pairs,
        "score_gap": 0.21,
        "least_score_gap": 0.05,
        "length_score_correlation": 0.1,
    } | rest


NOTHING = dict.fromkeys(gaps()) | {"pairs": 0, "scored": 0}


def round_row(number: int = 0, figures: dict[str, Any] | None = None, **facts: Any) -> dict[str, Any]:
    told = {
        "languages": {},
        "chosen_origins": {"policy@0": 40, "post_edit": 60},
        "rejected_origins": {"policy@0": 100},
        "chosen_on_policy": 0.4,
        "rejected_on_policy": 1.0,
        "dropped": {"answer: cut": 3, "pair: no gap": 12},
    }
    place = {"round": number, "stage": "wpo", "attempt": 1, "prompts": 150, "held_out": 10, "policy_version": 0}
    figures = gaps() if figures is None else figures
    times = {"time/generate": 61.25, "time/verify": None, "time/select": 0.5}
    return place | times | {"pairs": figures["pairs"], "statistics": told | figures | facts}


def screen(terminal: bool = False) -> tuple[Progress, StringIO]:
    out = StringIO()
    return Progress(Console(file=out, width=100, force_terminal=terminal, color_system=None, legacy_windows=False)), out


def test_a_step_is_one_line() -> None:
    progress, out = screen()
    progress.preference_step(step(3), 100)
    progress.preference_step(step(99, loss=None, reward_margin=float("nan"), **{"time/step": None}) | WEIGHTS, 100)
    progress.preference_step(step(0) | {"weight/mean": None}, 1)
    assert out.getvalue() == (
        "step   4/100  loss 0.6600  accuracy 56.0%  margin +0.075  grad 1.25  lr 5.00e-07  4.0 pairs/s  8.0 s\n"
        "step 100/100  loss --  accuracy 248.0%  margin --  weight 0.400  grad 1.25  lr 5.00e-07  -- pairs/s  -- s\n"
        "step 1/1  loss 0.6900  accuracy 50.0%  margin +0.000  weight --  grad 1.25  lr 5.00e-07  4.0 pairs/s  8.0 s\n"
    )


def test_pairs_per_second_needs_both_figures() -> None:
    assert pairs_per_second({"pairs": 12, "time/step": 8.0}) == 1.5
    assert pairs_per_second({"pairs": 12}) is pairs_per_second({"time/step": 1.0}) is None


def test_a_validation_is_one_line() -> None:
    progress, out = screen()
    progress.preference_validation(validation(10, accuracy=None))
    assert out.getvalue() == (
        "64 held-out pairs after 10 steps  loss 0.5931  accuracy --  margin +2.500  log-prob chosen -40.50 rejected -42.25\n"
    )


def test_the_pairs_of_a_round() -> None:
    progress, out = screen()
    progress.pairs(round_row(languages={"": gaps(40, length_score_correlation=None), "en-de": gaps(60, score_gap=None)}))
    assert out.getvalue().splitlines() == [
        "",
        "Round 0: 150 prompts, 100 pairs, 10 held out",
        "generate 61.2 s, select 0.5 s",
        "",
        "Pairs of round 0:",
        "  language pair  pairs  chosen longer  length gap  score gap  correlation",
        "  all            100    52.0%          +1.2        +0.210     +0.10",
        "  none           40     52.0%          +1.2        +0.210     --",
        "  en-de          60     52.0%          +1.2        --         +0.10",
        "chosen: 40.0% on policy (60 post_edit, 40 policy@0)",
        "rejected: 100.0% on policy (100 policy@0)",
        "dropped: 12 pair: no gap, 3 answer: cut",
    ]


def test_styles_are_readable_on_light_and_dark_terminals() -> None:
    """Bold (1), italic (3) and magenta (35): neither dim text (2) nor a colour near white or black, such as yellow (33, 93)."""
    out = StringIO()
    progress = Progress(Console(file=out, width=100, force_terminal=True, color_system="truecolor", no_color=False))
    progress.header("demo", {"model": "tiny"})
    progress.note("starting Ray ...")
    progress.pairs(round_row(languages={"en-de": gaps(100, chosen_longer=0.9)}))
    progress.preference_summary([step(0)], [validation(0)], [round_row()], {"report": "r.html"})
    assert "Length bias." in out.getvalue() and "starting Ray" in out.getvalue()
    assert {code for codes in re.findall(r"\x1b\[([\d;]*)m", out.getvalue()) for code in codes.split(";")} == {
        "0",
        "1",
        "3",
        "35",
    }


def test_a_round_without_pairs() -> None:
    progress, out = screen()
    none = {"chosen_origins": {}, "rejected_origins": {}, "chosen_on_policy": None, "rejected_on_policy": None, "dropped": {}}
    row = round_row(figures=NOTHING, **none)
    progress.pairs(row)
    assert out.getvalue().splitlines()[3:] == [
        "chosen: -- on policy (no pairs)",
        "rejected: -- on policy (no pairs)",
        "dropped: nothing",
    ]
    assert language_table(row["statistics"]) == origin_table(row["statistics"]) == length_warnings(row) == []
    assert round_table([row]) == [("0", "150", "0", "10", *["--"] * 7)]


def test_the_statistics_of_real_pairs_can_be_shown() -> None:
    """The names of the figures are those that the builder of pairs gives them."""
    origins = ("post_edit", "policy@1")
    pairs = [pair(chosen=4 + n, rejected=3, score=1.0 + n, origins=origins, language_pair="en-de") for n in range(6)]
    report = statistics([*pairs, pair(language_pair=None)], [Reject("s", "s/1", "answer: empty", "")]).report()
    row = round_row() | {"statistics": report, "pairs": 7}
    progress, out = screen()
    progress.pairs(row)
    shown = out.getvalue()
    for part in (
        "en-de          6      100.0%         +3.5",
        "14.3% on policy (6 post_edit, 1 policy@0)",
        "dropped: 1 answer: empty",
    ):
        assert part in shown, part
    assert "+1.00 over 6 pairs (en-de)" in shown and "100% of 6 pairs (en-de)" in shown
    assert round_table([row])[0][4:6] == ("85.7%", "0.0%")


def test_origins_past_the_most_frequent_count_together() -> None:
    many = {f"model:{number}": 10 - number for number in range(MOST_ORIGINS + 2)} | {"policy@3": 5}
    total = sum(many.values())
    told = round_row(figures=gaps(total), chosen_origins=many, rejected_origins={"model:0": total})["statistics"]
    assert origins_line("chosen", told).endswith("4 model:6, 6 of 3 other origins)")
    table = origin_table(told)
    assert table[:2] == [("on policy, all versions", "", "40.0%", "", "100.0%"), ("model:0", "10", "16.7%", "60", "100.0%")]
    assert len(table) == MOST_ORIGINS + 2 and sum(int(row[1]) for row in table[1:]) == total
    assert table[-1][0] == "3 other origins"


def test_what_was_dropped_comes_most_frequent_first() -> None:
    assert dropped_line({"dropped": {"a": 1, "c": 2, "b": 2}}) == "dropped: 2 b, 2 c, 1 a"


def test_a_round_that_is_done_again_is_shown_once() -> None:
    rounds = [round_row(0), round_row(1), round_row(1, figures=gaps(80))]
    assert [(row["round"], row["pairs"]) for row in latest(rounds)] == [(0, 100), (1, 80)]


@pytest.mark.parametrize(
    ("figures", "said"),
    [
        ({}, None),
        ({"chosen_longer": 0.65}, None),
        ({"chosen_longer": 0.72, "pairs": 400}, "longer one in 72% of 400 pairs (all)"),
        ({"chosen_shorter": 0.7}, "shorter one in 70% of 100 pairs (all)"),
        ({"chosen_longer": 1.0, "pairs": 3}, None),  # as likely as three heads of a coin
        ({"chosen_longer": 1.0, "pairs": 4}, "100% of 4 pairs"),
        ({"length_score_correlation": 0.42, "scored": 90}, "correlate by +0.42 over 90 pairs (all)"),
        ({"length_score_correlation": -0.42}, "prefers is brevity"),
        ({"length_score_correlation": 0.29}, None),
        ({"length_score_correlation": 0.31, "scored": 42}, None),
        ({"length_score_correlation": float("nan"), "chosen_longer": float("nan")}, None),
    ],
)
def test_strong_length_bias_is_told(figures: dict[str, Any], said: str | None) -> None:
    warnings = length_warnings(round_row(2, figures=gaps(**figures)))
    assert len(warnings) == (said is not None)
    assert all(said in warning and warning.startswith("Round 2: ") for warning in warnings if said)


def test_the_bound_on_correlations_is_that_of_chance() -> None:
    """Of unrelated gaps, about one in twenty samples is past two standard errors, on either side."""
    rng = np.random.default_rng(0)
    count = 12  # so few that two standard errors are beyond the bound on the figure itself
    told = 0
    for _ in range(2000):
        value = float(np.corrcoef(rng.normal(size=(2, count)))[0, 1])
        told += bool(length_warnings(round_row(figures=gaps(length_score_correlation=value, scored=count))))
    assert 0.02 < told / 2000 < 0.07


def test_one_biased_language_is_told_in_the_midst_of_others() -> None:
    languages = {"en-de": gaps(100, chosen_longer=0.81), "en-fr": gaps(100, chosen_longer=0.2, chosen_shorter=0.75)}
    first, second = length_warnings(round_row(languages=languages))
    assert "longer one in 81% of 100 pairs (en-de)." in first and "shorter one in 75% of 100 pairs (en-fr)." in second


def test_training_first_against_last() -> None:
    table = {row[0]: row[1:] for row in training_table([step(number) for number in range(12)])}
    assert table["loss"] == ("0.6700", "0.6000", "-0.0700")
    assert table["accuracy"] == ("54.0%", "68.0%", "+14.0%")
    assert table["log-prob of rejected (nats)"] == ("-46.00", "-60.00", "-14.00")
    assert "weight of a pair" not in table and training_table([]) == []
    assert training_table([step(0, loss=None) | WEIGHTS])[-1] == ("weight of a pair", "0.4000", "0.4000", "+0.0000")


def test_held_out_pairs_before_and_after() -> None:
    table = held_out_table([validation(0), validation(5, loss=9.0), validation(10, accuracy=None, pairs=60)])
    assert table == [
        ("loss", "0.6931", "0.5931", "-0.1000"),
        ("accuracy", "50.0%", "--", "--"),
        ("reward margin", "0.0000", "2.5000", "+2.5000"),
        ("log-prob of chosen (nats)", "-40.50", "-40.50", "+0.00"),
        ("log-prob of rejected (nats)", "-42.25", "-42.25", "+0.00"),
        ("NLL of chosen (nats a token)", "1.5000", "1.5000", "+0.0000"),
        ("pairs", "64", "60", ""),
    ]


def test_no_held_out_pairs_make_no_table() -> None:
    assert held_out_table([]) == [] == held_out_table([dict.fromkeys(validation(0)) | {"step": 0, "pairs": 0}])


@pytest.mark.parametrize("terminal", [True, False])
def test_the_end_of_a_stage(terminal: bool) -> None:
    progress, out = screen(terminal)
    rows = [step(number) | WEIGHTS for number in range(12)]
    progress.preference_summary(rows, [validation(0), validation(12)], [round_row()], {"pairs": "/runs/wpo/pairs"})
    shown = out.getvalue()
    for part in ("weight of a pair", "Held-out pairs", "Length bias: chosen answer longer", "/runs/wpo/pairs"):
        assert part in shown, part


def test_the_end_of_a_stage_without_anything() -> None:
    progress, out = screen()
    progress.preference_summary([], [], [], {"report": "r.html"})
    assert out.getvalue() == "\nWhere everything lies:\n  report: r.html\n"


@pytest.mark.parametrize("terminal", [True, False])
def test_names_out_of_the_data_are_not_obeyed(terminal: bool) -> None:
    progress, out = screen(terminal)
    progress.pairs(hostile_round())
    shown = out.getvalue()
    assert "\x1b[31m" not in shown and "[bold]" in shown and "Length bias. Round 0" in shown


def hostile_round() -> dict[str, Any]:
    biased = gaps(100, chosen_longer=0.9, length_gap=float("nan"))
    origins = {"chosen_origins": {HOSTILE: 100}, "rejected_origins": {HOSTILE * 100: 100}}
    return round_row(languages={HOSTILE: biased}, dropped={HOSTILE: 1}, **origins)


@pytest.fixture
def stage(tmp_path: Path) -> StageFolder:
    """The folder of a preference stage, in a run folder with what the report needs, and no more."""
    facts = {"name": "demo", "status": "running", "ended": None, "attempt": 1, "created": "today", "seed": 0, "reason": ""}
    (tmp_path / "manifest.json").write_text(json.dumps(facts))
    (tmp_path / "config.yaml").write_text("stages: [{name: wpo, kind: preference, rounds: 2}]")
    folder = StageFolder(tmp_path / "stages" / "0-wpo")
    folder.path.mkdir(parents=True)
    return folder


def filled(stage: StageFolder, rows: Sequence[Any] = (), held_out: Sequence[Any] = (), rounds: Sequence[Any] = ()) -> str:
    for path, listed in ((stage.metrics, rows), (stage.validation, held_out)):
        with MetricsLog(path) as log:
            for row in listed:
                log.append(row)
    stage.rounds.write_text("".join(json.dumps(row) + "\n" for row in rounds))
    page = write_report(stage.path.parent.parent).read_text(encoding="utf-8")
    tags = Tags(page)
    assert not tags.names & {"script", "img"} and not tags.attributes & {"src", "onerror"} and "\x1b" not in page
    return page.partition("How it was run")[0]


def charts(page: str) -> list[str]:
    return [part.partition("</b>")[0] for part in page.split("<figcaption><b>")[1:]]


def test_the_report_of_a_preference_stage(stage: StageFolder) -> None:
    rows = [step(number) | WEIGHTS for number in range(12)]
    rounds = [round_row(languages={"en-de": gaps(), "en-cs": gaps(50, chosen_longer=0.8)}), round_row(1)]
    write_pairs(stage.pairs / "round-1" / "pairs.parquet", [pair("s/7", origins=("post_edit", "policy@1"))], 1)
    page = filled(stage, rows, [validation(0), validation(6), validation(12)], rounds)
    for cell in ("0.6931", "-0.1200", "en-cs", "80.0%", "post_edit", "60.0%", "on policy, all versions", "pair: no gap"):
        assert f"<td>{cell}</td>" in page, cell
    for part in ("<b>12</b><span>steps", "<b>200</b><span>pairs", "accuracy, first 5 steps", "68.0%", "generate 61.2 s", "s/7"):
        assert part in page, part
    assert page.count('<div class="warning">') == 1 and "80% of 50 pairs (en-cs)" in page
    assert page.index('class="warning"') < page.index("<figure") < page.index("Round 1: by language pair")
    # the 12th step of training and the validation after 12 steps stand at the same place
    assert re.findall(r"(training|held out|chosen), step (\d+):", page) == [
        *[("held out", "12"), ("training", "12")] * 4, *[("chosen", "12")] * 3,
    ]  # fmt: skip
    assert charts(page) == [
        "Loss",
        "Accuracy (chosen has the greater reward)",
        "Reward margin (chosen less rejected)",
        "NLL of the chosen answer (nats a token)",
        "Log-probability of training answers (nats)",
        "Log-probability of held-out answers (nats)",
        "Weight of a pair",
        "Share of pairs by their weight",
        "Length (tokens, mean)",
        "Pairs per second",
        "Seconds per phase",
        "Learning rate",
        "Gradient norm",
    ]
    for foreign in ("Validation loss", "Mixture", "Held-out panel", "Rollouts of step", "Loss (nats a token)"):
        assert foreign not in page, foreign


def test_without_weights_and_held_out_pairs_their_parts_are_absent(stage: StageFolder) -> None:
    page = filled(stage, [step(0, loss=None, accuracy=float("nan"))], [], [round_row()])
    assert "Reward margin (chosen less rejected)" in charts(page) and "Length (tokens, mean)" in charts(page)
    for absent in ("Loss", "Weight of a pair", "Share of pairs by their weight", "Log-probability of held-out answers (nats)"):
        assert absent not in charts(page), absent
    assert "<h3>Held-out pairs</h3>" not in page and '<div class="warning">' not in page and "First pairs" not in page


def test_pairs_stand_before_the_first_step(stage: StageFolder) -> None:
    assert "No step has been completed." in filled(stage)
    page = filled(stage, rounds=[round_row()])
    assert "No step has been completed." in page and "Round 0: 150 prompts, 100 pairs, 10 held out" in page
    assert charts(page) == []


def test_names_out_of_the_data_make_no_elements(stage: StageFolder) -> None:
    write_pairs(stage.pairs / "round-0" / "pairs.parquet", [pair(HOSTILE, origins=(HOSTILE, HOSTILE), score=None)], 0)
    page = filled(stage, [step(0)], [validation(0, loss=None)], [hostile_round()])
    assert "&lt;img src=x" in page and "90% of 100 pairs (&lt;img" in page and "score --" in page
