"""The sandbox that is used: a jail that was seen to hold."""

from collections.abc import Mapping, Sequence

from verifiers.sandbox import selftest
from verifiers.sandbox.jail import Jail
from verifiers.sandbox.types import DEFAULTS, Limits, Result


class Sandbox:
    """Runs each command in a fresh jail. May be used by many threads at once; a run ends when its thread does."""

    def __init__(self) -> None:
        """Raises SandboxUnavailable unless a jail can be made and every property holds (tried once a process, half a second)."""
        self._jail = Jail()
        selftest.check(self._jail)

    def run(self, files: Mapping[str, bytes], command: Sequence[str], stdin: bytes = b"", limits: Limits = DEFAULTS) -> Result:
        """Run the command in /box, below which the files (relative path to content) lie read-only.

        Raises SandboxUnavailable when the jail could not be made this time: then nothing is known about the command.
        """
        return self._jail.run(files, command, stdin, limits)
