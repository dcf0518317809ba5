"""What a command-line tool does when nobody reads what it writes any more, as in `tool | head -1`."""

import os
import select
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

READER_GONE = 128 + signal.SIGPIPE
"""The exit code that a shell shows for a tool which SIGPIPE ended."""


@contextmanager
def quiet_pipes() -> Iterator[None]:
    """Ends the program with READER_GONE and without a word when the reader of its output has gone; also a decorator.

    Raises BrokenPipeError when another pipe broke.
    """
    try:
        try:
            yield
        finally:
            if sys.stdout is not None:  # it is None when the caller has closed it
                sys.stdout.flush()  # here and not at exit, where the error could no longer be caught
    except BrokenPipeError:
        gone = [stream for stream in (sys.stdout, sys.stderr) if stream is not None and _reader_gone(stream)]
        if not gone:
            raise
        for stream in gone:
            _discard(stream)
        raise SystemExit(READER_GONE) from None


def _reader_gone(stream: TextIO) -> bool:
    poll = select.poll()
    poll.register(stream, 0)  # errors and hang-ups are told without being asked for
    return bool(poll.poll(0))


def _discard(stream: TextIO) -> None:
    """Sends what is still in the stream's buffers nowhere, or the interpreter would try again at exit and complain."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, stream.fileno())
    os.close(nowhere)
