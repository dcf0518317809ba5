"""Programs of tests/verifiers/attacks in the bare sandbox: each ends as its first line says, and leaves nothing behind.

Without an "Ends:" there, a program tries what must be refused, fails loudly where it is not, and says "held" at the end.
"""

import os
import re
from pathlib import Path

import pytest

from verifiers.sandbox import PYTHON, Ended, Limits, Sandbox

pytestmark = pytest.mark.jail

FOLDER = Path(__file__).parents[1] / "attacks"
ATTACKS = sorted(path for path in FOLDER.glob("*.py") if path.name != "tools.py")
LIMITS = Limits(wall_s=20, cpu_s=15, memory_mib=256, processes=16, open_files=64, file_mib=4, tmp_mib=16)
SHORT = Limits(wall_s=1.5, memory_mib=256, file_mib=4, tmp_mib=16)


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_attack(sandbox: Sandbox, no_traces: None, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:6379")
    monkeypatch.setenv("HF_TOKEN", "secret")
    stated = re.search(r"Ends: (\w+(?: or \w+)*)", path.read_text(encoding="utf-8").splitlines()[0])
    expected = [Ended(end) for end in stated[1].split(" or ")] if stated else [Ended.EXIT]
    limits = SHORT if stated else LIMITS
    if path.stem == "cpu":
        limits = Limits(wall_s=20, cpu_s=1)
    files = {"main.py": path.read_bytes(), "tools.py": (FOLDER / "tools.py").read_bytes()}
    inherited = os.open("/etc/passwd", os.O_RDONLY)
    os.set_inheritable(inherited, True)
    try:
        result = sandbox.run(files, [PYTHON, "-S", "main.py"], limits=limits)
    finally:
        os.close(inherited)
    assert result.ended in expected, result
    assert result.wall_s < limits.wall_s + 1.0
    assert len(result.stdout) + len(result.stderr) <= limits.output_bytes
    if not stated:
        assert (result.exit_code, result.stdout) == (0, b"held\n"), result
