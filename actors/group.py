"""Calls to Ray actors, each with a name and a limit of how long the actor may show no progress."""

import asyncio
import time
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import GetTimeoutError, ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError

from actors.stalled import Limit, Watch, stalled
from tower_rl.protocols import RunError, WorkerLost

END_TIMEOUT_S = 20.0
"""How long an actor may take to end by itself."""
POLL_S = 1.0
"""Seconds between two looks at what an actor reports."""


@dataclass(frozen=True, slots=True)
class Actor:
    """An actor that was spawned."""

    handle: Any
    watch: Watch


def spawn(kind: type, name: str, log: Path, placed: Mapping[str, object], env: Mapping[str, str], *arguments: Any) -> Actor:
    """Start an actor of a class; Ray does not restart it, since its state is lost.

    Args:
        kind: a plain class; with async methods its calls interleave.
        name: in Ray's dashboard. Each run has a namespace of its own (Ray's default), so runs on one cluster may use the same.
        log: file that the actor writes its output to (`actors.process.log_to`), and beside it its reports of progress.
        placed: Ray options that say where.
        env: of its process, from the start.
        arguments: of its constructor.
    """
    remote: Any = ray.remote(kind)
    options = {"max_restarts": 0, "runtime_env": {"env_vars": dict(env)}, **placed}
    return Actor(remote.options(name=name, **options).remote(*arguments), Watch(name, log))


async def call(waited_for: str, limit: Limit, pending: Awaitable[Any], actors: Sequence[Actor] = ()) -> Any:
    """Await the answer of one remote call, as long as any of the actors that work on it shows progress.

    Raises:
        DeadlineExceeded: naming what was waited for, and what the actor reported last.
        WorkerLost: if the actor died or was ended for want of memory.
        RunError: the one that the actor raised, as it was.
    """
    answer = asyncio.ensure_future(_await(pending))
    moved = time.monotonic()
    try:
        while not answer.done():
            rest = moved + limit.seconds - time.monotonic()
            if rest <= 0:
                raise limit.gave_up(waited_for, await asyncio.to_thread(stalled, [actor.watch for actor in actors]))
            await asyncio.wait({answer}, timeout=min(rest, POLL_S))
            moved = max([moved, *(actor.watch.moved() for actor in actors)])
        with _told_plainly(waited_for):
            return answer.result()
    finally:
        answer.cancel()


async def call_all(waited_for: str, limit: Limit, pending: Sequence[Awaitable[Any]], actors: Sequence[Actor] = ()) -> list[Any]:
    """Await calls that belong together, in order; the first error ends the wait for all.

    Each goes on while any of the actors shows progress: a rank that is done waits for the others in its next collective.
    """
    names = [f"{waited_for} {i}" if len(pending) > 1 else waited_for for i in range(len(pending))]
    return list(await asyncio.gather(*(call(name, limit, p, actors) for name, p in zip(names, pending, strict=True))))


async def end(waited_for: str, actors: Sequence[Actor]) -> None:
    """Ask actors to shut down, then end their processes; never raises, since this runs while another error is on its way."""
    calls = [call(waited_for, Limit(END_TIMEOUT_S, ""), actor.handle.shutdown.remote()) for actor in actors]
    await asyncio.gather(*calls, return_exceptions=True)
    for actor in actors:
        ray.kill(actor.handle)  # left to itself, a rank was seen to hang in its exit and keep nine gigabytes


def get(waited_for: str, limit: Limit, refs: Sequence[ray.ObjectRef]) -> list[Any]:
    """Wait for calls as `call_all` does, in code that runs inside an actor's own thread; the limit is for all of it."""
    try:
        with _told_plainly(waited_for):
            return ray.get(list(refs), timeout=limit.seconds)
    except GetTimeoutError:
        raise limit.gave_up(waited_for) from None


async def _await(pending: Awaitable[Any]) -> Any:
    return await pending


@contextmanager
def _told_plainly(waited_for: str) -> Iterator[None]:
    """Ray's errors as those of tower_rl.protocols."""
    try:
        yield
    except RayTaskError as error:
        if isinstance(error.cause, RunError):
            raise error.cause from error
        raise
    except (RayActorError, OutOfMemoryError, ObjectLostError) as error:
        raise WorkerLost(f"{waited_for} is lost: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """What Ray says, without its list of ids: of an actor that failed to start the error alone, of a dead one how it ended."""
    lines = [line for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    if not isinstance(error, RayActorError):
        return lines[0]
    if not error.actor_init_failed:
        return " ".join(line for line in lines if not line.startswith("\t"))
    frames = [place for place, line in enumerate(lines) if line.startswith('  File "')]
    raised = dropwhile(lambda line: line.startswith("    "), lines[frames[-1] + 1 :] if frames else lines[-1:])
    return " ".join(line.strip() for line in raised)
