import math
from collections.abc import Callable
from pathlib import Path

import pytest

from tower_rl.reporting.panel import PanelScore, pairs, panel_means, panel_of, panel_scores, read_panel, write_panel
from tower_rl.types import ScoredGroup

GroupMaker = Callable[..., ScoredGroup]


def test_a_panel_comes_back_as_it_was_written(tmp_path: Path, make_group: GroupMaker) -> None:
    groups = [make_group("a", "rules", ("Größe", 0.5), ("nein", None))]
    written = write_panel(tmp_path / "panel-before.json", groups)
    assert read_panel(tmp_path / "panel-before.json") == written == panel_of(groups)
    assert written[0]["responses"][1] == {
        "text": "nein",
        "score": None,
        "passed": None,
        "status": "invalid",
        "reason": "lost",
        "parts": {},
    }
    assert read_panel(tmp_path / "panel-after.json") == []


def test_invalid_verdicts_count_in_no_mean(make_group: GroupMaker) -> None:
    panel = panel_of(
        [
            make_group("a", "rules", ("x", 1.0), ("y", None)),
            make_group("b", "math", ("x", None)),
            make_group("c", "rules", ("x", 0.5)),
        ]
    )
    scores = panel_scores(panel)
    assert scores["rules"] == PanelScore(mean=0.75, pass_rate=0.5, scored=2, invalid=1)
    assert list(scores) == ["math", "rules"]
    assert math.isnan(panel_means(panel)["math"])
    assert panel_means(panel)["rules"] == pytest.approx(0.75)


def test_pairs_take_verifiers_by_turns_and_only_prompts_of_both(make_group: GroupMaker) -> None:
    names = [("a", "rules"), ("b", "rules"), ("c", "math"), ("d", "math")]
    before = panel_of([make_group(name, verifier, ("x", 0.0)) for name, verifier in names])
    after = panel_of([make_group(name, verifier, ("y", 1.0)) for name, verifier in reversed(names[1:])])
    chosen = pairs(before, after, 2)
    assert [(first["prompt_id"], second["prompt_id"]) for first, second in chosen] == [("b", "b"), ("c", "c")]
    assert [second["responses"][0]["text"] for _, second in chosen] == ["y", "y"]
    assert pairs(before, [], 2) == []
