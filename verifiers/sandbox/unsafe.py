"""Programs without a jail, for machines that have no user namespaces and programs that one would run anyway."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

from verifiers.sandbox.jail import ENVIRONMENT, resource_limits
from verifiers.sandbox.running import finish
from verifiers.sandbox.types import DEFAULTS, Ended, Limits, Result


class UnsafeSandbox:
    """Sandbox's interface around a plain subprocess. The program can read, write and reach whatever the caller can.

    The resource limits of each process hold, but for the number of processes and the size of /tmp.
    """

    def run(self, files: Mapping[str, bytes], command: Sequence[str], stdin: bytes = b"", limits: Limits = DEFAULTS) -> Result:
        """Run the command in a temporary directory with the files; absolute paths are the machine's, there is no /box."""
        began = time.monotonic()
        with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, tempfile.TemporaryFile() as given:
            for path, data in files.items():
                Path(folder, path).parent.mkdir(parents=True, exist_ok=True)
                Path(folder, path).write_bytes(data)
            given.write(stdin)
            given.seek(0)
            process = subprocess.Popen(
                [*resource_limits(limits, processes=False), *command],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                cwd=folder,
                env=ENVIRONMENT,
                start_new_session=True,
            )
            result = finish(process, began, limits, lambda: _kill_group(process.pid))
            _kill_group(process.pid)
        if result.exit_code is not None and result.exit_code < 0:
            return replace(result, ended=Ended.KILLED, exit_code=128 - result.exit_code)
        return result


def _kill_group(pid: int) -> None:
    """What stayed in the group; a program that left it survives."""
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
