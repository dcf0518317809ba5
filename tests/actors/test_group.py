"""Deadlines and losses of remote calls, by name."""

import re
import signal
import time

import pytest
import ray
from ray.exceptions import OutOfMemoryError, RayTaskError

from actors.group import call, call_all, get
from tower_rl.protocols import DeadlineExceeded, MismatchExceeded, WorkerLost

pytestmark = pytest.mark.ray


@ray.remote(num_cpus=0)
class Worker:
    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    def die(self):
        import os

        os._exit(1)

    def late_itself(self):
        raise TimeoutError("its own business")

    def refuse(self):
        raise MismatchExceeded("they differ")


async def test_answers_come_in_order(cluster):
    workers = [Worker.remote() for _ in range(2)]
    assert await call_all("worker", 60, [w.sleep.remote(s) for w, s in zip(workers, (0.2, 0.0), strict=True)]) == [0.2, 0.0]


async def test_deadline(cluster):
    worker = Worker.remote()
    await call("worker", 60, worker.sleep.remote(0))
    with pytest.raises(DeadlineExceeded, match="gave up waiting for a slow worker after 0 s"):
        await call("a slow worker", 0.3, worker.sleep.remote(3))
    with pytest.raises(DeadlineExceeded, match="a slow worker"):
        get("a slow worker", 0.3, [worker.sleep.remote(3)])


async def test_what_kept_an_actor_from_starting_is_told(cluster):
    @ray.remote
    class Broken:
        def __init__(self):
            raise ValueError("1 validation error\nmax_model_len\n  too large [type=value_error]")

        def ready(self):
            pass

    told = "start of engine is lost: ValueError: 1 validation error max_model_len too large [type=value_error]"
    with pytest.raises(WorkerLost, match=f"^{re.escape(told)}$"):
        await call("start of engine", 60, Broken.remote().ready.remote())


async def test_death(cluster):
    with pytest.raises(WorkerLost, match=r"^policy rank 0 is lost: The actor died unexpectedly.*worker process has died.*$"):
        await call("policy rank 0", 60, Worker.remote().die.remote())
    with pytest.raises(WorkerLost, match="it is lost"):
        get("it", 60, [Worker.remote().die.remote()])


async def test_a_task_that_raises_a_timeout_is_no_deadline_of_ours(cluster):
    with pytest.raises(RayTaskError, match="its own business"):
        await call("worker", 60, Worker.remote().late_itself.remote())


async def test_ended_for_want_of_memory():
    """Ray's memory monitor cannot be provoked on a machine that other tests share: its error, raised where Ray raises it."""

    async def killed():
        raise OutOfMemoryError("Task was killed due to the node running low on memory.\nMemory on the node was ...")

    with pytest.raises(WorkerLost, match=r"^policy rank 0 is lost: Task was killed due to the node running low on memory\.$"):
        await call("policy rank 0", 60, killed())


async def test_an_error_for_the_user_arrives_as_itself(cluster):
    with pytest.raises(MismatchExceeded, match=r"^they differ$"):
        await call("worker", 60, Worker.remote().refuse.remote())


def test_a_run_on_ray_is_ended_by_sigterm_as_by_ctrl_c(cluster):
    """Ray's own handler would end the process with code 15, and the run as failed."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
