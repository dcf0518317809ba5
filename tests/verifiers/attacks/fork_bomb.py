"""Forks for ever, in every child too. Ends: timeout."""

import os
from contextlib import suppress

while True:
    with suppress(OSError):
        os.fork()
