"""Empty files without end. Ends: timeout."""

import os
from contextlib import suppress

number = 0
while True:
    number += 1
    with suppress(OSError):
        os.mknod(f"/tmp/{number}")
