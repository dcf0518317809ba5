"""Calls to Ray actors, each with a deadline and a name."""

import asyncio
from collections.abc import Awaitable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import dropwhile
from typing import Any

import ray
from ray.exceptions import ObjectLostError, OutOfMemoryError, RayActorError, RayTaskError

from tower_rl.protocols import DeadlineExceeded, RunError, WorkerLost

END_TIMEOUT_S = 20.0
"""How long an actor may take to end by itself."""


def spawn(kind: type, name: str, placed: Mapping[str, object], env: Mapping[str, str], *arguments: Any) -> Any:
    """An actor of a class, on its slot, with these environment variables; Ray does not restart it, since its state is lost.

    Args:
        kind: a plain class; with async methods its calls interleave.
        name: in Ray's dashboard. Each run has a namespace of its own (Ray's default), so runs on one cluster may use the same.
        placed: Ray options that say where.
        env: of its process, from the start.
        arguments: of its constructor.
    """
    remote: Any = ray.remote(kind)
    return remote.options(name=name, max_restarts=0, runtime_env={"env_vars": dict(env)}, **placed).remote(*arguments)


async def call(waited_for: str, seconds: float, pending: Awaitable[Any]) -> Any:
    """The answer of one remote call.

    Raises:
        DeadlineExceeded: naming what was waited for.
        WorkerLost: if the actor died or was ended for want of memory.
        RunError: the one that the actor raised, as it was.
    """
    with _told_plainly(waited_for, seconds):
        return await asyncio.wait_for(_await(pending), seconds)


async def call_all(waited_for: str, seconds: float, pending: Sequence[Awaitable[Any]]) -> list[Any]:
    """The answers of calls that belong together, in order; the first error ends the wait for all."""
    names = [f"{waited_for} {i}" if len(pending) > 1 else waited_for for i in range(len(pending))]
    return list(await asyncio.gather(*(call(name, seconds, p) for name, p in zip(names, pending, strict=True))))


async def end(waited_for: str, handles: Sequence[Any]) -> None:
    """Ask actors to shut down, then end their processes; never raises, since this runs while another error is on its way."""
    calls = [call(waited_for, END_TIMEOUT_S, handle.shutdown.remote()) for handle in handles]
    await asyncio.gather(*calls, return_exceptions=True)
    for handle in handles:
        ray.kill(handle)  # left to itself, a rank was seen to hang in its exit and keep nine gigabytes


def get(waited_for: str, seconds: float, refs: Sequence[ray.ObjectRef]) -> list[Any]:
    """`call_all` for code that runs inside an actor's own thread."""
    with _told_plainly(waited_for, seconds):
        return ray.get(list(refs), timeout=seconds)


async def _await(pending: Awaitable[Any]) -> Any:
    return await pending


@contextmanager
def _told_plainly(waited_for: str, seconds: float) -> Iterator[None]:
    """Ray's errors as those of tower_rl.protocols."""
    try:
        yield
    except RayTaskError as error:  # first, since it also takes the type of what the task raised
        if isinstance(error.cause, RunError):
            raise error.cause from error
        raise
    except TimeoutError:
        raise DeadlineExceeded(f"gave up waiting for {waited_for} after {seconds:.0f} s") from None
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
