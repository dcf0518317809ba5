"""Runs programs that nobody trusts. Standard library and bubblewrap only; docs/sandbox.md says what holds and what does not.

result = Sandbox().run({"main.py": b"print(1)"}, [PYTHON, "-I", "-S", "main.py"])
"""

from verifiers.sandbox.jail import PYTHON
from verifiers.sandbox.preforked import PreforkedSandbox
from verifiers.sandbox.safe import Sandbox
from verifiers.sandbox.types import Ended, Limits, Result, SandboxUnavailable
from verifiers.sandbox.unsafe import UnsafeSandbox

AnySandbox = Sandbox | PreforkedSandbox | UnsafeSandbox

__all__ = [
    "PYTHON",
    "AnySandbox",
    "Ended",
    "Limits",
    "PreforkedSandbox",
    "Result",
    "Sandbox",
    "SandboxUnavailable",
    "UnsafeSandbox",
]
