"""Ending early: a wish that loops look at between steps, and the signals that make it."""

import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

HEARD = b"stopping after the running step, with a checkpoint; the same signal again stops at once\n"


class Stopped(Exception):
    """The run was asked to stop, and has written what it needs to go on."""


class Stop:
    """Whether the run shall end early."""

    def __init__(self) -> None:
        self.wished = False

    def heed(self) -> None:
        """Raises Stopped if it shall. To be called where everything that was done has been saved."""
        if self.wished:
            raise Stopped("stopped as asked")


@contextmanager
def listening(stop: Stop) -> Iterator[None]:
    """For a while the first SIGTERM or Ctrl-C is a wish to stop, and the next one interrupts."""

    def handle(_number: int, _frame: FrameType | None) -> None:
        if stop.wished:
            raise KeyboardInterrupt
        stop.wished = True
        os.write(2, HEARD)  # a handler may run amid a print, in which another print is an error

    heard = [number for number in (signal.SIGTERM, signal.SIGINT) if signal.getsignal(number) is not signal.SIG_IGN]
    before = {number: signal.signal(number, handle) for number in heard}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def terminable() -> Iterator[None]:
    """For a while SIGTERM interrupts as Ctrl-C does, so that what was started is ended, too."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
