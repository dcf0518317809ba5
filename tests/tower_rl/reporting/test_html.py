from collections.abc import Callable
from pathlib import Path

import pytest
from tags import Tags

from tower_rl.config.schema import Config
from tower_rl.reporting.html import write_report
from tower_rl.reporting.metrics import MetricsLog
from tower_rl.reporting.panel import write_panel
from tower_rl.reporting.rollouts import write_rollouts
from tower_rl.runfolder import Mode, RunFolder, read_yaml
from tower_rl.types import ScoredGroup

GroupMaker = Callable[..., ScoredGroup]
HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'</pre>&\x1b[31m"
CONFIG = """
run: {{name: demo, dir: {folder}}}
model: {{path: "package:<script>"}}
data: {{sources: {{sums: {{kind: reasoning_gym, task: chain_sum, verifier: math}}}}}}
verifiers: {{math: {{use: math}}}}
stages: [{{name: rlvr, kind: rlvr, steps: 40}}]
"""


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    text = CONFIG.format(folder=tmp_path / "run")
    return RunFolder.create(Config.model_validate(read_yaml(text)), text, Mode.NEW)


def checked(folder: RunFolder) -> str:
    page = write_report(folder.path).read_text(encoding="utf-8")
    tags = Tags(page)
    assert not tags.names & {"script", "img", "link", "iframe", "a"}
    assert not tags.attributes & {"src", "href", "onerror", "onload"}
    assert "http://" not in page and "https://" not in page and "\x1b" not in page
    return page


def test_a_run_before_its_first_stage_and_step(folder: RunFolder) -> None:
    assert "No stage has begun." in checked(folder)
    stage = folder.stage(0, "rlvr")
    assert "No step has been completed." in checked(folder)
    stage.metrics.write_text('{"step": 1, "st')
    assert "No step has been completed." in checked(folder)


def test_a_failed_run_says_why(folder: RunFolder) -> None:
    folder.fail(f"LearnerLost: {HOSTILE}")
    page = checked(folder)
    assert "LearnerLost: &lt;script&gt;" in page and '<span class="status failed">failed</span>' in page


def test_a_whole_run(folder: RunFolder, make_group: GroupMaker) -> None:
    stage = folder.stage(0, "rlvr")
    with MetricsLog(stage.metrics) as log:
        for step in range(1, 13):
            place = {"step": step, "stage": "rlvr", "attempt": 1}
            times = {"time/generate": 2.0, "time/train": 3.0, "time/step": 6.0}
            kl = float("nan") if step == 4 else 0.1 * step
            log.append(place | times | {"reward/mean": step / 20, f"reward/{HOSTILE}": 0.5, "kl": kl, "tokens_generated": 600})
    write_panel(stage.panel_before, [make_group(HOSTILE, HOSTILE, (HOSTILE, 0.25), prompt=HOSTILE)])
    write_panel(stage.panel_after, [make_group(HOSTILE, HOSTILE, ("gut", 0.75), prompt=HOSTILE)])
    answers = [(f"{HOSTILE} {number}", number / 10) for number in range(5)]
    write_rollouts(stage.rollouts(9), 9, [make_group("old", "math", ("stale", 1.0))], [[None]])
    write_rollouts(stage.rollouts(12), 12, [make_group("p", HOSTILE, *answers, (HOSTILE, None))], [[0.5] * 5 + [None]])
    folder.finish()
    page = checked(folder)
    for part in ("13 / 40", "0.150", "0.500", "1.2", "100", "+0.500", "Seconds per phase", "Rollouts of step 13: invalid"):
        assert part in page
    assert "stale" not in page and "Entropy" not in page
    # the file's first row is step 1, the second step of the run
    assert "generate: 2 s" in page and page.count("<title>step 2, ") == 2 and "<title>step 1, " not in page
    assert "<title>kl, step 13: 1.2</title>" in page
    assert "All of them are in rollouts/step-12.parquet, whose number counts steps from 0." in page
    assert "from 0 in metrics.jsonl" in page
    assert page.count("score 0.40") == 1 and page.count("score 0.00") == 1  # with five, none is both best and worst


def test_without_a_manifest_there_is_no_report(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"manifest\.json"):
        write_report(tmp_path)
