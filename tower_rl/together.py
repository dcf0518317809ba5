"""Work beside other work, of which nothing outlives the first error."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


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
