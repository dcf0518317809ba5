"""Ignores signals, catches everything, closes its output. Ends: timeout."""

import os
import signal
import time
from contextlib import suppress

for number in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(number, signal.SIG_IGN)
os.close(1)
os.close(2)
if os.fork() == 0:
    os.setsid()
while True:
    with suppress(BaseException):
        time.sleep(600)
