"""Verifiers in worker processes that are killed when they are too slow, too big or stuck. Standard library only.

CPU-bound Python can be stopped as a process and in no other way: an alarm never reaches `9**9**9**9`, which one C call computes.

    with Pool({"math": Spec("verifiers.math:Math")}, workers=2, memory_mib=2048) as pool:
        verdicts = pool.verify("math", tasks)

One thread of the parent owns one worker; all take tasks one by one from one queue, so that a slow task holds up only its worker.
"""

import queue
import threading
from collections.abc import Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from types import TracebackType
from typing import Any, Self

from verifiers import wire
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


@dataclass(frozen=True, slots=True)
class _Job:
    name: str
    task: Task
    answer: "Future[Verdict]"


class Pool:
    """Worker processes for a set of verifiers. `verify` may be called from many threads at once."""

    def __init__(self, specs: Mapping[str, Spec], workers: int, memory_mib: int) -> None:
        """`memory_mib` is the address space of a worker. Starts nothing slow: workers start with their first task."""
        self._specs = dict(specs)
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

        Blocks until all are judged: at most (retries + 1) times the deadlines of verifiers.process for each task before it.
        """
        if name not in self._specs:
            raise KeyError(f"no verifier {name!r} in this pool: {sorted(self._specs)}")
        jobs = [_Job(name, task, Future()) for task in tasks]
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            for job in jobs:
                self._jobs.put(job)
        return [job.answer.result() for job in jobs]

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
                job.answer.set_result(self._judge_with_retries(slot, job))
            except BaseException as error:  # a caller waits for this answer: whatever happened, it gets one
                job.answer.set_exception(error)
        self._drop(slot)

    def _judge_with_retries(self, slot: int, job: _Job) -> Verdict:
        try:
            request = wire.encode({"name": job.name, "task": wire.task_to_wire(job.task)})
        except (TypeError, ValueError, OverflowError) as error:
            return invalid(f"the task is not JSON-like: {error}"[:500], verifier=job.name)
        spec = self._specs[job.name]
        for _ in range(spec.retries + 1):
            if self._closed:
                return invalid("the pool was closed", verifier=job.name)
            verdict = replace(self._judge(slot, request, spec), verifier=job.name)
            if verdict.status is Status.SCORED:
                break
        return verdict

    def _judge(self, slot: int, request: bytes, spec: Spec) -> Verdict:
        """One try. The worker is gone afterwards unless it answered."""
        try:
            worker = self._worker(slot)
            verdict = worker.judge(request, spec.timeout_s)
            if OUT_OF_MEMORY in verdict.flags:
                served_before = worker.judged > 1
                self._drop(slot)
                if served_before:  # perhaps earlier tasks filled it: only a fresh worker's verdict on memory counts
                    return self._judge(slot, request, spec)
            return verdict
        except CpuTimeUsedUp as error:
            self._drop(slot)
            return out_of_time(spec.timeout_s, error.blame_response)
        except WorkerHung:
            self._drop(slot)
            return invalid(f"timeout: the worker hung, with less than {spec.timeout_s:g} s of CPU time used")
        except WorkerNotStarted as error:
            self._drop(slot)
            return invalid(f"worker did not start: {error}")
        except WorkerLost as error:
            self._drop(slot)
            return invalid(f"worker lost: {error}")

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
