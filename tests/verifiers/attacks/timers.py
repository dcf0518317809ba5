"""Timers without end, each a piece of the kernel's memory."""

import ctypes

from tools import system_call

timers = 0
try:
    while timers < 10_000:
        system_call(222, 1, None, ctypes.create_string_buffer(8))  # timer_create
        timers += 1
except OSError:
    assert timers <= 256, timers
    print("held")
