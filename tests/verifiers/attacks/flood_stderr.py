"""Writes to stderr for ever, from a child in its own session. Ends: output_limit."""

import os
import time

if os.fork() == 0:
    os.setsid()
    while True:
        os.write(2, b"x" * 100_000)
time.sleep(60)
