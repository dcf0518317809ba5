"""Tools whose reader goes away, as in `tool | head -1`."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from verifiers.pipes import quiet_pipes

ROOT = Path(__file__).parents[2]
TOOLS = (
    ("tower_rl.run", "--help"),
    ("tower_rl.run", "--version"),
    ("tower_rl.run", "configs/demo.yaml", "--plan"),
    ("tower_rl.data.show", "--help"),
    ("tower_rl.data.preference.show", "--help"),
    ("verifiers",),
    ("verifiers.code", "--help"),
)


def without_reader(*command: str, unbuffered: bool, both: bool = False) -> tuple[int, str]:
    """Runs Python with a standard output that nobody reads; its exit code and what it said on standard error."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as output:
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=os.environ | {"PYTHONUNBUFFERED": "1" if unbuffered else ""},
            stdout=output,
            stderr=output if both else subprocess.PIPE,
            text=True,
            timeout=120,
        )
    return done.returncode, done.stderr or ""


@pytest.mark.parametrize("tool", TOOLS, ids=" ".join)
def test_tools_end_without_a_word(tool: tuple[str, ...]) -> None:
    assert without_reader("-m", *tool, unbuffered=False) == (141, "")


@pytest.mark.parametrize("tool", [("tower_rl.run", "configs/demo.yaml", "--plan"), ("verifiers",)], ids=" ".join)
def test_unbuffered_tools_end_without_a_word(tool: tuple[str, ...]) -> None:
    assert without_reader("-m", *tool, unbuffered=True) == (141, "")


def test_errors_that_nobody_reads_end_the_tool_as_well() -> None:
    assert without_reader("-m", "tower_rl.run", "no.yaml", unbuffered=False, both=True) == (141, "")


def test_a_reader_that_takes_one_line() -> None:
    tool = f"{sys.executable} -m tower_rl.run configs/demo.yaml --plan | head -1; echo ${{PIPESTATUS[0]}} >&2"
    done = subprocess.run(["bash", "-c", tool], cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert len(done.stdout.splitlines()) == 1
    assert done.stderr in ("141\n", "0\n")  # 0: all was written before head ended


def test_a_pipe_of_the_programs_own_is_an_error() -> None:
    """The output is read: another pipe broke, and nobody may take that for the end of a reader."""
    program = "from verifiers.pipes import quiet_pipes\nwith quiet_pipes():\n    raise BrokenPipeError('a worker died')"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and "BrokenPipeError: a worker died" in done.stderr


def test_results_and_exits_pass() -> None:
    @quiet_pipes()
    def main(code: int) -> int:
        if code == 3:
            raise SystemExit(3)
        return code

    assert main(2) == 2
    with pytest.raises(SystemExit, match="3"):
        main(3)
