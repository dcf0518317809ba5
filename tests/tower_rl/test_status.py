"""Reports of processes: what they say, what is left of them, and what they cost."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tower_rl import status
from tower_rl.status import SIZE, read, report, status_path, tracked, transferring


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "logs" / "policy-0.status"
    status.publish(file)
    return file


def told(path: Path) -> str:
    found = read(path)
    assert found is not None
    return f"{found}{'' if found.active else ' (ended)'}"


def test_what_a_process_says(path: Path) -> None:
    assert told(path) == "nothing yet (ended)"
    report("sampling", "token", 1)
    assert told(path) == "sampling 1 token"
    report("sampling", "token", 640)
    assert told(path) == "sampling 640 tokens"
    report("sampled", "response", 40, 64)
    assert told(path) == "sampled 40 of 64 responses"
    report("scored", "batch", 0, 1)
    assert told(path) == "scored 0 of 1 batches"
    status.finish()
    assert told(path) == "scored 0 of 1 batches (ended)"


def test_items_are_reported_before_they_are_worked_on(path: Path) -> None:
    seen = [told(path) for _ in tracked("training", "micro-batch", "abc")]
    assert seen == [f"training micro-batch {n} of 3" for n in (1, 2, 3)]
    assert told(path) == "training micro-batch 3 of 3 (ended)"
    assert list(tracked("training", "micro-batch", [])) == []


def test_each_report_is_a_new_one(path: Path) -> None:
    numbers = []
    for _ in range(3):
        report("waiting", "second", 5)
        found = read(path)
        assert found is not None and found.pid == os.getpid()
        numbers.append(found.number)
    assert numbers == [numbers[0] + n for n in range(3)]


def test_time_left_follows_the_pace(path: Path) -> None:
    for _ in tracked("training", "micro-batch", range(4)):
        time.sleep(0.2)
        found = read(path)
        assert found is not None
        if found.done == 3:
            assert found.left_s == pytest.approx(2 * 0.2, rel=0.4), "two are done, two are not"
    report("sampled", "response", 5, 10)
    found = read(path)
    assert found is not None and found.left_s == pytest.approx(0, abs=0.1), "begun just now"
    report("sampling", "token", 5)
    found = read(path)
    assert found is not None and found.left_s is None


def test_a_report_is_whole_and_of_one_size(path: Path) -> None:
    report("scoring", "batch", 1, 2)
    report("x", "y", 1)
    assert path.stat().st_size == SIZE and path.read_text().endswith("\n")
    report("w" * 1000, "unit", 1)
    assert read(path) is None and path.stat().st_size == SIZE
    assert read(path.with_name("other.status")) is None
    path.write_text('{"host": "a"}')
    assert read(path) is None


def test_a_report_costs_microseconds(path: Path) -> None:
    began = time.perf_counter()
    for number in range(1000):
        report("training", "micro-batch", number, 1000)
    assert (time.perf_counter() - began) / 1000 < 0.5e-3


def test_nobody_asked_nothing_written(tmp_path: Path) -> None:
    program = "from tower_rl.status import report, tracked, finish\nreport('a', 'b', 1)\nlist(tracked('a', 'b', [1]))\nfinish()"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.getcwd()})
    assert list(tmp_path.iterdir()) == []


def test_what_is_read_and_written_meanwhile_is_progress(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(status, "INTERVAL_S", 0.05)
    with transferring("loading"):
        time.sleep(0.2)
        before = read(path)
        time.sleep(0.2)
        assert read(path) == before, "nothing moved"
        (tmp_path / "large").write_bytes(bytes(3 * 2**20))
        time.sleep(0.2)
        assert told(path) == "loading 3 MB"
        command = f"open({str(tmp_path / 'child')!r}, 'wb').write(bytes(2 * 2**20)); import time; time.sleep(1)"
        with subprocess.Popen([sys.executable, "-c", command]):
            time.sleep(0.7)
            found = read(path)
            assert found is not None and found.done >= 5, "that of children counts"
    assert told(path).endswith("(ended)")


def test_it_lies_beside_the_log() -> None:
    assert status_path(Path("/runs/demo/logs/policy-0.log")) == Path("/runs/demo/logs/policy-0.status")
