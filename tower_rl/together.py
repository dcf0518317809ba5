"""Work beside other work, of which nothing outlives the first error, or the context that it was begun in."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager


@asynccontextmanager
async def together() -> AsyncIterator[asyncio.TaskGroup]:
    """A TaskGroup whose first error comes out as it was raised, not in a group of errors.

    When a task fails, the body is cancelled wherever it waits, and so are the other tasks; when the body fails, the tasks are.
    Leaving waits until all of them have ended.
    """
    own: list[Exception] = []
    try:
        async with asyncio.TaskGroup() as tasks:
            try:
                yield tasks
            except Exception as error:
                own.append(error)  # the group would put it behind what its tasks raise when they are cancelled
                raise
    except ExceptionGroup as errors:
        first = (own or errors.exceptions)[0]
        raise first from first.__cause__


@contextmanager
def repeating(seconds: float, call: Callable[[], None]) -> Iterator[None]:
    """Meanwhile call a function every so many seconds, in a thread of its own."""
    end = threading.Event()

    def repeat() -> None:
        while not end.wait(seconds):
            call()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        end.set()
        thread.join()
