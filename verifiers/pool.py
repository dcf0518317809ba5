"""Verifiers in worker processes that are killed when they are too slow, too big or stuck. Standard library only.

CPU-bound Python can be stopped as a process and in no other way: an alarm never reaches `9**9**9**9`, which one C call computes.

    with Pool({"math": Spec("verifiers.math:Math")}, workers=2, memory_mib=2048) as pool:
        verdicts = pool.verify("math", tasks)

One thread of the parent owns one worker; all take jobs from one queue, so that a slow one holds up only its worker. A job is one
task, or for a group-aware verifier all responses of a prompt.
"""

import queue
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from itertools import groupby
from types import TracebackType
from typing import Any, Self

from verifiers import wire
from verifiers.cache import VerdictCache
from verifiers.cache import key as cache_key
from verifiers.calls import OUT_OF_MEMORY, out_of_time
from verifiers.process import CpuTimeUsedUp, WorkerHung, WorkerLost, WorkerNotStarted, WorkerProcess
from verifiers.types import Status, Task, Verdict, invalid


@dataclass(frozen=True, slots=True)
class Spec:
    """One verifier of a pool."""

    target: str
    """`module:attribute`, as registry.resolve gives it."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Its options; JSON-like."""
    timeout_s: float = 10.0
    """CPU seconds that one response may cost."""
    retries: int = 1
    """Further tries after an invalid verdict."""
    group_aware: bool = False
    """The verifier sees all responses of a prompt at once, with `timeout_s` CPU seconds for each."""
    version: str = ""
    """Of the verifier, as registry.version gives it: tells cached verdicts of different versions apart."""
    cached: bool = False
    """Whether its verdicts are kept in the pool's cache."""


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    tasks: Sequence[Task]
    answer: "Future[list[Verdict]]"


class Pool:
    """Worker processes for a set of verifiers. `verify` may be called from many threads at once."""

    def __init__(
        self,
        specs: Mapping[str, Spec],
        workers: int,
        memory_mib: int,
        cache: VerdictCache | None = None,
        judged: Callable[[int], None] = lambda verdicts: None,
    ) -> None:
        """Start nothing slow: workers start with their first task.

        Args:
            specs: verifiers by name.
            workers: number of processes.
            memory_mib: address space of each.
            cache: for verdicts of verifiers that keep theirs.
            judged: called with the number of verdicts of each job that is done, by any thread.
        """
        self._specs = dict(specs)
        self._judged = judged
        self._cache = cache
        self._wire_specs = {name: (spec.target, dict(spec.options)) for name, spec in specs.items()}
        self._memory_mib = memory_mib
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._closed = False
        self._workers: list[WorkerProcess | None] = [None] * workers
        self._threads = [threading.Thread(target=self._serve, args=(slot,), daemon=True) for slot in range(workers)]
        for thread in self._threads:
            thread.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def verify(self, name: str, tasks: Sequence[Task]) -> list[Verdict]:
        """One verdict a task, in order; what goes wrong is an invalid verdict. Raises KeyError for a name without a spec.

        Tasks in a row with the same prompt are a group: a group-aware verifier sees them together.
        Blocks until all are judged: at most (retries + 1) times the deadlines of verifiers.process for each task before it.
        """
        if name not in self._specs:
            raise KeyError(f"no verifier {name!r} in this pool: {sorted(self._specs)}")
        jobs = [_Job(name, group, Future()) for group in _groups(tasks, self._specs[name].group_aware)]
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            for job in jobs:
                self._jobs.put(job)
        return [verdict for job in jobs for verdict in job.answer.result()]

    def worker_pids(self) -> list[int]:
        """Process ids of the workers that were started and not given up."""
        return [worker.pid for worker in self._workers if worker is not None]

    def close(self) -> None:
        """Kill the workers. Tasks that are not yet judged get an invalid verdict."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
        for worker in self._workers:
            if worker is not None:
                worker.kill()
        for thread in self._threads:
            thread.join()

    def _serve(self, slot: int) -> None:
        while (job := self._jobs.get()) is not None:
            try:
                verdicts = self._answer(slot, job)
                self._judged(len(verdicts))
                job.answer.set_result(verdicts)
            except BaseException as error:  # a caller waits for this answer: whatever happened, it gets one
                job.answer.set_exception(error)
        self._drop(slot)

    def _answer(self, slot: int, job: _Job) -> list[Verdict]:
        spec = self._specs[job.name]
        try:
            tasks = [wire.task_to_wire(task) for task in job.tasks]
            request = wire.encode({"name": job.name, "tasks": tasks})
        except (TypeError, ValueError, OverflowError) as error:
            return [invalid(f"the task is not JSON-like: {error}"[:500], verifier=job.name)] * len(job.tasks)
        if self._cache is None or not spec.cached:
            return self._judge_with_retries(slot, request, job)
        key = cache_key(spec.target, spec.version, spec.options, tasks)
        verdicts = self._cache.get(key)
        if verdicts is None:
            verdicts = self._judge_with_retries(slot, request, job)
            self._cache.put(key, verdicts)
        return [replace(verdict, verifier=job.name) for verdict in verdicts]

    def _judge_with_retries(self, slot: int, request: bytes, job: _Job) -> list[Verdict]:
        for _ in range(self._specs[job.name].retries + 1):
            if self._closed:
                return [invalid("the pool was closed", verifier=job.name)] * len(job.tasks)
            verdicts = [replace(verdict, verifier=job.name) for verdict in self._judge(slot, request, job)]
            if all(verdict.status is Status.SCORED for verdict in verdicts):
                break
        return verdicts

    def _judge(self, slot: int, request: bytes, job: _Job) -> list[Verdict]:
        """One try. The worker is gone afterwards unless it answered."""
        seconds = self._specs[job.name].timeout_s * len(job.tasks)
        try:
            worker = self._worker(slot)
            verdicts = worker.judge(request, seconds, len(job.tasks))
            if any(OUT_OF_MEMORY in verdict.flags for verdict in verdicts):
                served_before = worker.judged > 1
                self._drop(slot)
                if served_before:  # perhaps earlier tasks filled it: only a fresh worker's verdict on memory counts
                    return self._judge(slot, request, job)
            return verdicts
        except CpuTimeUsedUp as error:
            verdict = out_of_time(seconds, error.blame_response)
        except WorkerHung:
            verdict = invalid(f"timeout: the worker hung, with less than {seconds:g} s of CPU time used")
        except WorkerNotStarted as error:
            verdict = invalid(f"worker did not start: {error}")
        except WorkerLost as error:
            verdict = invalid(f"worker lost: {error}")
        self._drop(slot)
        return [verdict] * len(job.tasks)

    def _worker(self, slot: int) -> WorkerProcess:
        """The slot's worker, a new one if it has none alive. Raises WorkerLost and WorkerNotStarted."""
        worker = self._workers[slot]
        if worker is not None and worker.alive:
            return worker
        self._drop(slot)
        started = WorkerProcess(self._wire_specs, self._memory_mib)
        self._workers[slot] = started
        if self._closed:  # `close` may have looked at this slot before
            raise WorkerLost("the pool was closed")
        started.wait_until_ready()
        return started

    def _drop(self, slot: int) -> None:
        worker, self._workers[slot] = self._workers[slot], None
        if worker is not None:
            worker.kill()


def _groups(tasks: Sequence[Task], group_aware: bool) -> list[list[Task]]:
    if not group_aware:
        return [[task] for task in tasks]
    return [list(group) for _, group in groupby(tasks, key=lambda task: (task.prompt, task.messages))]
