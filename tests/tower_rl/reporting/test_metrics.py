import json
from pathlib import Path

import numpy as np
import pytest

from tower_rl.reporting.metrics import MetricsLog, read


def row(step: int, **rest: object) -> dict[str, object]:
    return {"step": step, "stage": "rlvr", "attempt": 1, **rest}


def test_rows_are_on_the_disk_at_once_in_a_fixed_order(tmp_path: Path) -> None:
    log = MetricsLog(tmp_path / "new" / "metrics.jsonl")
    log.append({"kl": 0.5, "entropy": 1, "attempt": 1, "stage": "rlvr", "step": 1})
    assert list(json.loads((tmp_path / "new" / "metrics.jsonl").read_text())) == ["step", "stage", "attempt", "entropy", "kl"]
    log.close()


def test_numbers_that_json_lacks_become_null_and_numpy_becomes_plain(tmp_path: Path) -> None:
    with MetricsLog(tmp_path / "m.jsonl") as log:
        log.append(row(1, kl=float("nan"), loss=float("-inf"), tokens=np.int64(3), reward=np.float32(0.5), done=True, none=None))
    expected = row(1, kl=None, loss=None, tokens=3, reward=0.5, done=True, none=None)
    assert read(tmp_path / "m.jsonl") == [expected]
    assert '"tokens": 3' in (tmp_path / "m.jsonl").read_text()


@pytest.mark.parametrize("missing", ["step", "stage", "attempt"])
def test_a_row_without_its_place_is_refused(tmp_path: Path, missing: str) -> None:
    bad = {key: value for key, value in row(1).items() if key != missing}
    with MetricsLog(tmp_path / "m.jsonl") as log, pytest.raises(KeyError, match=missing):
        log.append(bad)


@pytest.mark.parametrize("torn", ['{"step": 2, "sta', '{"step": 2, "stage": "rlvr", "attempt": 1, "x": "\xe4'])
def test_a_torn_last_line_is_dropped(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "m.jsonl"
    with MetricsLog(path) as log:
        log.append(row(1))
    with path.open("ab") as stream:
        stream.write(torn.encode()[:-1])
    assert read(path) == [row(1)]
    with MetricsLog(path) as log:
        log.append(row(2))
    assert read(path) == [row(1), row(2)]


def test_a_rollback_supersedes_later_rows(tmp_path: Path) -> None:
    path = tmp_path / "m.jsonl"
    with MetricsLog(path) as log:
        for step in (1, 2, 3):
            log.append(row(step))
        log.supersede(after_step=1)
        log.append(row(2, kl=0.1))
    assert read(path) == [row(1), row(2, kl=0.1)]
    superseded = [row(2, superseded=True), row(3, superseded=True)]
    assert read(path, superseded=True) == [row(1), *superseded, row(2, kl=0.1)]
    assert [file.name for file in tmp_path.iterdir()] == ["m.jsonl"]


def test_no_file_has_no_rows(tmp_path: Path) -> None:
    assert read(tmp_path / "m.jsonl") == []
