"""Verifiers that behave badly, for the tests of the pool. `response` says what to do."""

import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict

from verifiers import Task, Verdict, scored


class NoOptions(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid")


class Hostile:
    """Does what the response says."""

    Options: ClassVar[type[BaseModel]] = NoOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: NoOptions) -> None:
        self.kept: list[Any] = []

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._one(task) for task in tasks]

    def _one(self, task: Task) -> Verdict:
        done = getattr(self, f"_{task.response}")(task)
        return done if isinstance(done, Verdict) else scored(1.0, reason=str(done or ""))

    def _fine(self, task: Task) -> None: ...

    def _count(self, task: Task) -> None:
        with open(task.meta["mark"], "a") as file:
            file.write("x")

    def _pid(self, task: Task) -> str:
        return str(os.getpid())

    def _environment(self, task: Task) -> str:
        return " ".join(sorted(os.environ))

    def _print(self, task: Task) -> None:
        for stream in (1, 2):
            os.write(stream, b"\x00\x00\x00\x02{}" * 50_000)
        print("hello", flush=True)
        print("hello", file=sys.stderr, flush=True)

    def _exit(self, task: Task) -> None:
        sys.exit(0)

    def _crash(self, task: Task) -> None:
        os._exit(0)

    def _raise(self, task: Task) -> None:
        raise RuntimeError("my own bug")

    def _burn(self, task: Task) -> None:
        while True:
            pass

    def _sleep(self, task: Task) -> None:
        time.sleep(3600)

    def _nap(self, task: Task) -> None:
        time.sleep(task.meta["seconds"])

    def _allocate(self, task: Task) -> None:
        self.kept.append(bytearray(task.meta["mib"] * 2**20))

    def _die_once(self, task: Task) -> None:
        mark = Path(task.meta["mark"])
        if not mark.exists():
            mark.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)

    def _child(self, task: Task) -> None:
        """Leaves a child that would hold the channel and the session open."""
        child = os.fork()
        if child == 0:
            time.sleep(3600)
        Path(task.meta["mark"]).write_text(str(child))
        os._exit(0)

    def _not_json(self, task: Task) -> Verdict:
        return scored(0.5, reason=b"bytes")


class Infrastructure(Hostile):
    """The same, but slowness and memory are not the response's fault."""

    timeout_is_failure: ClassVar[bool] = False


class TooFew(Hostile):
    """Answers nothing."""

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return []


class StuckAtStart(Hostile):
    """Its constructor never returns."""

    def __init__(self, options: NoOptions) -> None:
        time.sleep(3600)


class BrokenAtStart(Hostile):
    """Its constructor raises."""

    def __init__(self, options: NoOptions) -> None:
        raise RuntimeError("no model file")


class Group(Hostile):
    """Scores the share of the other responses of the group that differ; `burn` and `short` misbehave."""

    group_aware: ClassVar[bool] = True

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        responses = [task.response for task in tasks]
        if "burn" in responses:
            self._burn(tasks[0])
        verdicts = [scored(sum(other != own for other in responses) / len(responses)) for own in responses]
        return verdicts[1:] if "short" in responses else verdicts
