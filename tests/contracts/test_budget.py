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
LIMITS = "budget.LONGEST, budget.BUDGETS = 0.5, {'unit': 0.8, 'alone': 0.8, 'slow': 0.8}\n"
HEAD = "import time\nimport pytest\n"


def session(folder: Path, conftest: str, tests: str, *options: str) -> tuple[int, str]:
    """Exit code and summary of a session of its own."""
    (folder / "conftest.py").write_text(conftest + LIMITS)
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  ray: a\n  slow: b\n")
    for number in range(2):
        (folder / f"test_{number}.py").write_text(HEAD + tests)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    env.pop("PYTEST_ADDOPTS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "budget", *options, str(folder)]
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120)
    assert " passed" in done.stdout and "failed" not in done.stdout, done.stdout + done.stderr
    return done.returncode, done.stdout


def test_what_is_within_its_time_passes(tmp_path: Path) -> None:
    code, told = session(tmp_path, CALM, "def test_quick():\n    time.sleep(0.2)\n")
    assert code == 0
    assert "unit 0.4 of 0.8 s" in told and "FAILED" not in told and "no limit" not in told


@pytest.mark.parametrize("options", [(), ("-n", "2", "--dist", "loadfile")], ids=["alone", "two workers"])
def test_a_long_test_fails_the_session(tmp_path: Path, options: tuple[str, ...]) -> None:
    code, told = session(tmp_path, CALM, "@pytest.mark.ray\ndef test_long():\n    time.sleep(0.55)\n", *options)
    assert code == 1
    assert "FAILED: test_0.py::test_long took 0." in told and "FAILED: test_1.py::test_long took 0." in told
    assert ("the alone tests took 1." in told) == (not options), "two workers share the part"


def test_a_part_that_is_too_long_fails_the_session(tmp_path: Path) -> None:
    code, told = session(tmp_path, CALM, "@pytest.mark.parametrize('n', range(3))\ndef test_short(n):\n    time.sleep(0.2)\n")
    assert code == 1
    assert "FAILED: the unit tests took 1." in told and "test_short" not in told.partition("time budget")[2]


def test_slow_tests_have_the_budget_of_their_part_alone(tmp_path: Path) -> None:
    code, told = session(tmp_path, CALM, "@pytest.mark.slow\ndef test_long():\n    time.sleep(0.6)\n")
    assert code == 1
    assert "FAILED: the slow tests took 1." in told and "test_long" not in told.partition("time budget")[2]
    code, told = session(tmp_path, CALM, "@pytest.mark.slow\ndef test_long():\n    time.sleep(0.6)\n", "-k", "test_0")
    assert code == 0, told


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
    code, told = session(tmp_path, CALM, FIXTURES.format(inner=0.35, outer=0.35), "-k", "test_0")
    assert code == 0, told
    code, told = session(tmp_path, CALM, FIXTURES.format(inner=0.4, outer=0.55), "-k", "test_0")
    assert code == 1
    (line,) = [line for line in told.splitlines() if line.startswith("FAILED")]
    assert line.startswith("FAILED: the fixture outer of test_0.py took 0.")


@pytest.mark.parametrize("conftest, excuse", [(LOADED, "other processes took "), (SLOW, "an abacus")])
def test_a_loaded_or_slow_machine_is_only_told(tmp_path: Path, conftest: str, excuse: str) -> None:
    code, told = session(tmp_path, conftest, "def test_long():\n    time.sleep(0.55)\n")
    assert code == 0
    assert "over, but only told: test_0.py::test_long took 0." in told and "over, but only told: the unit tests took" in told
    assert f"no limit is held here: {excuse}" in told


def test_a_failing_test_stays_what_fails(tmp_path: Path) -> None:
    (tmp_path / "test_2.py").write_text("def test_wrong():\n    assert False\n")
    (tmp_path / "conftest.py").write_text(CALM + LIMITS)
    env = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    command = [sys.executable, "-m", "pytest", "-q", "-p", "budget", str(tmp_path)]
    assert subprocess.run(command, env=env, cwd=tmp_path, timeout=60).returncode == 1


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


def test_what_our_processes_take_is_ours() -> None:
    """Those that were waited for between two looks, that were killed, and that live on without their parent."""
    load = Load(interval=0.05)
    before = load.ours()
    subprocess.run([sys.executable, "-c", SPIN.format(0.5)], check=True, timeout=60)
    killed = subprocess.Popen([sys.executable, "-c", SPIN.format(60)])
    time.sleep(1)
    killed.kill()
    killed.wait()
    parent = f"{ORPHAN.format(SPIN.format(0.5))}import time\ntime.sleep(0.5)\n"
    subprocess.run([sys.executable, "-c", parent], check=True, timeout=60)
    deadline = time.monotonic() + 30
    while load.ours() - before < 1.2 and time.monotonic() < deadline:
        time.sleep(0.1)
    load.others()
    assert load.ours() - before > 1.2


def test_what_other_processes_take_is_theirs() -> None:
    """A process that is nobody's child of ours: its parent has ended before it was seen."""
    load = Load(interval=60)
    subprocess.run([sys.executable, "-c", ORPHAN.format(SPIN.format(1.0))], check=True, timeout=60)
    time.sleep(2)
    began = time.monotonic() - load.began[0]
    assert load.others() * began * (os.cpu_count() or 1) > 0.3
