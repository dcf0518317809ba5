"""Seconds by phase of one step."""

import time
from collections.abc import Callable


class Clock:
    """Starts when it is made: `with clock("train"): ...`."""

    def __init__(self) -> None:
        self.start = time.perf_counter()
        self.phases: dict[str, float] = {}

    def __call__(self, phase: str) -> "_Phase":
        return _Phase(lambda seconds: self.phases.update({phase: self.phases.get(phase, 0.0) + seconds}))

    def seconds(self) -> dict[str, float]:
        """Each phase, and the whole step."""
        return {**self.phases, "step": time.perf_counter() - self.start}


class _Phase:
    def __init__(self, add: Callable[[float], None]) -> None:
        self.add = add

    def __enter__(self) -> None:
        self.start = time.perf_counter()

    def __exit__(self, *error: object) -> None:
        self.add(time.perf_counter() - self.start)
