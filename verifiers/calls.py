"""The one place where a verifier's code is called: whatever it does, there is one verdict a task."""

import time
from collections.abc import Sequence
from dataclasses import replace

from verifiers.types import Task, Verdict, Verifier, invalid, scored

OUT_OF_MEMORY = "out_of_memory"
"""Flag of a verdict whose judgement hit the memory limit."""


def verify(verifier: Verifier, tasks: Sequence[Task], name: str = "") -> list[Verdict]:
    """Call the verifier and stamp `verifier` (name, or the class's) and `seconds` (its share of the call) on each verdict.

    An exception of the verifier, or an answer that is not one Verdict a task, gives invalid verdicts for all tasks of the call.
    """
    begin = time.perf_counter()
    verdicts = _guarded(verifier, tasks)
    seconds = (time.perf_counter() - begin) / max(len(tasks), 1)
    name = name or type(verifier).__name__
    return [replace(verdict, verifier=name, seconds=seconds) for verdict in verdicts]


def _guarded(verifier: Verifier, tasks: Sequence[Task]) -> list[Verdict]:
    try:
        verdicts = list(verifier.verify(tasks))
    except KeyboardInterrupt:
        raise
    except MemoryError:
        return [out_of_memory(verifier.timeout_is_failure)] * len(tasks)
    except BaseException as error:  # also SystemExit and math-verify's BaseException: a plug-in's failure is never the caller's
        return [invalid(f"verifier error: {type(error).__name__}: {error}"[:500])] * len(tasks)
    if len(verdicts) != len(tasks) or not all(isinstance(verdict, Verdict) for verdict in verdicts):
        kinds = sorted({type(verdict).__name__ for verdict in verdicts})
        reason = f"verifier error: {len(verdicts)} answers ({', '.join(kinds)}) for {len(tasks)} tasks, not one Verdict each"
        return [invalid(reason)] * len(tasks)
    return verdicts


def out_of_memory(blame_response: bool) -> Verdict:
    """The verdict when the memory limit was hit: a failure of the response if only it can cause that, else invalid."""
    if blame_response:
        return scored(0.0, reason="memory: judging the response needs more than the limit", flags=(OUT_OF_MEMORY,))
    return invalid("verifier error: out of memory", flags=(OUT_OF_MEMORY,))


def out_of_time(seconds: float, blame_response: bool) -> Verdict:
    """The verdict when the CPU time was used up: a failure of the response if only it can cause that, else invalid."""
    reason = f"timeout: {seconds:g} s of CPU time used up"
    return scored(0.0, reason=reason, flags=("timeout",)) if blame_response else invalid(reason, flags=("timeout",))
