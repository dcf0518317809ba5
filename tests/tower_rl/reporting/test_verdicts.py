"""Metrics of verdicts, worked by hand."""

import pytest
from helpers import prompt, rollout

from tower_rl.reporting.verdicts import verdict_figures
from tower_rl.types import ScoredGroup
from verifiers import invalid, scored


def group(verifier, *verdicts):
    return ScoredGroup(prompt([1], verifier=verifier), (rollout([5], [-1]),) * len(verdicts), verdicts)


def test_shares_percentiles_and_parts():
    first = group(
        "rules",
        scored(1.0, parts={"length": 1.0}, seconds=0.1),
        scored(0.5, parts={"length": 0.0}, flags=("copied_source",), seconds=0.2),
    )
    second = group("rules", invalid("worker lost: exit status 1", seconds=0.3), invalid("worker lost: it closed", seconds=0.4))
    figures = verdict_figures([first, group("other", scored(0.0)), second])
    rules = {key.removeprefix("verifier/rules/"): value for key, value in figures.items() if key.startswith("verifier/rules/")}
    assert rules == pytest.approx(
        {
            "passed": 0.5,
            "invalid": 0.5,
            "invalid/worker lost": 0.5,
            "flag/copied_source": 0.25,
            "part/length": 0.5,
            "seconds_p50": 0.25,
            "seconds_p99": 0.397,
        }
    )
    assert figures["verifier/other/passed"] == 0


def test_nothing_valid_has_no_share_of_passed():
    assert "verifier/v/passed" not in verdict_figures([group("v", invalid("x"))])


def test_numbered_parts_are_one_metric():
    figures = verdict_figures([group("code", scored(0.5, parts={"test/0": 1.0, "test/1": 0.0}))])
    assert {key: value for key, value in figures.items() if "part" in key} == {"verifier/code/part/test": 0.5}
