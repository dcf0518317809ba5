"""The plug-in that holds the suite to its time, in sessions of tiny tests."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
from budget import Load, part_of, slow_processor

CALM = "import budget\nbudget.slow_processor = lambda *_: ''\nbudget.SHARE_OF_OTHERS = 1000\n"
LOADED = "import budget\nbudget.slow_processor = lambda *_: ''\nbudget.SHARE_OF_OTHERS = -1\n"
SLOW = "import budget\nbudget.slow_processor = lambda *_: 'an abacus'\nbudget.SHARE_OF_OTHERS = 1000\n"
LIMITS = "budget.SLACK, budget.LONGEST, budget.BUDGETS = 1.0, 1.0, {'unit': 2.4, 'alone': 2.4, 'slow': 1.2}\n"
MARKERS = "[pytest]\nmarkers =\n  ray: with actors\n  slow: for minutes\n"
HEAD = "import time\nimport pytest\n"
QUICK = "def test_quick():\n    time.sleep(0.1)\n"
LONG = "def test_long():\n    time.sleep(1.1)\n"
MANY = "@pytest.mark.ray\n@pytest.mark.parametrize('n', range(3))\ndef test_short(n):\n    time.sleep(0.45)\n"
TWO_WORKERS = ("-p", "xdist", "-n", "2", "--dist", "loadfile")


def session(folder: Path, conftest: str, *files: str, options: tuple[str, ...] = ()) -> tuple[int, str]:
    """Exit code of a session of its own, and its summary of time."""
    (folder / "conftest.py").write_text(conftest + LIMITS)
    (folder / "pytest.ini").write_text(MARKERS)
    for number, text in enumerate(files):
        (folder / f"test_{number}.py").write_text(HEAD + text)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1]), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTEST_ADDOPTS": ""}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "budget", *options, str(folder)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert "time budget" in done.stdout, done.stdout + done.stderr
    return done.returncode, done.stdout.partition("time budget")[2]


def test_what_is_within_its_time_passes(tmp_path: Path) -> None:
    code, told = session(tmp_path, CALM, QUICK)
    assert code == 0
    assert " of 2.4 s" in told and "FAILED" not in told and "no limit" not in told


@pytest.mark.parametrize("options", [(), TWO_WORKERS], ids=["one process", "two workers"])
def test_a_long_test_fails_the_session(tmp_path: Path, options: tuple[str, ...]) -> None:
    code, told = session(tmp_path, CALM, LONG, QUICK, options=options)
    assert code == 1
    assert "FAILED: test_0.py::test_long took 1." in told and told.count("FAILED") == 1


def test_a_part_that_is_too_long_fails_the_session(tmp_path: Path) -> None:
    """Two workers share its time."""
    code, told = session(tmp_path, CALM, MANY, MANY)
    assert code == 1
    assert "FAILED: the alone tests took 2." in told and told.count("FAILED") == 1
    code, told = session(tmp_path, CALM, MANY, MANY, options=TWO_WORKERS)
    assert code == 0, told
    assert "alone 1." in told and "on 2 workers" in told


def test_slow_tests_have_the_budget_of_their_part_alone(tmp_path: Path) -> None:
    slow = "@pytest.mark.slow\n" + LONG
    code, told = session(tmp_path, CALM, slow)
    assert code == 0, told
    code, told = session(tmp_path, CALM, slow, slow)
    assert code == 1
    assert "FAILED: the slow tests took 2." in told and told.count("FAILED") == 1


FIXTURES = """
@pytest.fixture(scope="session")
def inner():
    time.sleep({inner})

@pytest.fixture(scope="module")
def outer(inner):
    time.sleep({outer})

def test_quick(outer):
    pass
"""


def test_a_shared_fixture_is_counted_for_itself(tmp_path: Path) -> None:
    code, told = session(tmp_path, CALM, FIXTURES.format(inner=0.6, outer=0.6))
    assert code == 0, told
    code, told = session(tmp_path, CALM, FIXTURES.format(inner=0.1, outer=1.1))
    assert code == 1
    assert "FAILED: the fixture outer of test_0.py took 1." in told and told.count("FAILED") == 1


@pytest.mark.parametrize("conftest, excuse", [(LOADED, "other processes took "), (SLOW, "an abacus")], ids=["loaded", "slow"])
def test_a_loaded_or_slow_machine_is_only_told(tmp_path: Path, conftest: str, excuse: str) -> None:
    code, told = session(tmp_path, conftest, LONG, "@pytest.mark.slow\ndef test_slow():\n    time.sleep(1.3)\n")
    assert code == 0
    assert "over, but only told: test_0.py::test_long took 1." in told and "over, but only told: the slow tests took 1." in told
    assert f"no limit is held here: {excuse}" in told


def test_a_failing_test_is_no_matter_of_time(tmp_path: Path) -> None:
    code, told = session(tmp_path, CALM, "def test_wrong():\n    assert False\n")
    assert code == 1
    assert "FAILED: " not in told


def test_parts() -> None:
    assert part_of(set()) == part_of({"parametrize", "asyncio"}) == "unit"
    assert part_of({"ray"}) == part_of({"ranks"}) == part_of({"jail", "asyncio"}) == "alone"
    assert part_of({"ray", "slow"}) == part_of({"slow"}) == "slow"


def test_processors() -> None:
    fast, slow = "processor : 0\nflags\t\t: fpu avx512f {}\n".format, "flags : fpu avx2"
    assert not slow_processor(fast("amx_bf16"), {}) and not slow_processor(fast("avx512_bf16"), {"ONEDNN_MAX_CPU_ISA": "ALL"})
    assert slow_processor(slow, {}) and slow_processor(fast(""), {}) and slow_processor("", {})
    assert slow_processor(fast("amx_bf16"), {"ONEDNN_MAX_CPU_ISA": "AVX2"})


SPIN = "import time\nwhile time.process_time() < {}: pass\n"
ORPHAN = "import os, subprocess, sys\nsubprocess.Popen([sys.executable, '-c', {!r}], start_new_session=True)\n"


def looks_until(load: Load, more: float) -> None:
    """Looks at our processes until so many seconds more were ours."""
    before, deadline = load.ours(), time.monotonic() + 60
    while load.ours() - before < more:
        assert time.monotonic() < deadline, "not seen"
        time.sleep(0.05)
        load.look()


def test_what_our_processes_take_is_ours() -> None:
    """Of those that were waited for between two looks, that were killed, and that live on without their parent."""
    load = Load(interval=3600)
    subprocess.run([sys.executable, "-c", SPIN.format(0.5)], check=True, timeout=60)
    load.look()
    assert load.ours() - load.began[2] > 0.45
    killed = subprocess.Popen([sys.executable, "-c", SPIN.format(600)])
    looks_until(load, 0.5)
    killed.kill()
    killed.wait()
    load.look()
    assert load.ours() - load.began[2] > 0.95, "it is not forgotten"
    with subprocess.Popen([sys.executable, "-c", f"{ORPHAN.format(SPIN.format(3.0))}import time\ntime.sleep(1)\n"]):
        looks_until(load, 0.2)
    looks_until(load, 0.5)
    load.others()


def test_what_other_processes_take_is_theirs() -> None:
    """A process that is nobody's child of ours: its parent has ended before it was seen."""
    load = Load(interval=60)
    subprocess.run([sys.executable, "-c", ORPHAN.format(SPIN.format(1.0))], check=True, timeout=60)
    time.sleep(2)
    began = time.monotonic() - load.began[0]
    assert load.others() * began * (os.cpu_count() or 1) > 0.3
