"""Empty files without end; a fast machine has made as many as memory holds before time is up. Ends: timeout or killed."""

import os
from contextlib import suppress

number = 0
while True:
    number += 1
    with suppress(OSError):
        os.mknod(f"/tmp/{number}")
