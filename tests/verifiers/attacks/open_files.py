"""Descriptors and pipes without end."""

import fcntl
import os
from contextlib import suppress

ends = []
try:
    while True:
        ends += os.pipe()
        with suppress(PermissionError):
            fcntl.fcntl(ends[-1], 1031, 1 << 20)  # F_SETPIPE_SZ
except OSError:
    assert len(ends) < 64, len(ends)
print("held")
