"""Limits and losses of remote calls, by name."""

import re
import signal
import sys
import time

import pytest
import ray
from ray import cloudpickle
from ray.exceptions import OutOfMemoryError, RayTaskError

from actors.group import call, call_all, get, spawn
from actors.process import log_to
from actors.stalled import Limit
from tower_rl.protocols import DeadlineExceeded, MismatchExceeded, WorkerLost
from tower_rl.status import report

pytestmark = pytest.mark.ray

MINUTE, HURRIED = Limit(60, ""), Limit(0.3, "policy.step_timeout_s")


class Worker:
    """Trains on twelve micro-batches, or hangs in the third."""

    def __init__(self, log):
        log_to(log)
        print("loaded the model\n\nready", flush=True)

    def sleep(self, seconds):
        time.sleep(seconds)
        return seconds

    def train(self, seconds):
        for number in range(12):
            report("trained on", "micro-batch", number, 12)
            time.sleep(seconds / 12)
        return seconds

    def hang(self):
        report("trained on", "micro-batch", 3, 12)
        time.sleep(600)

    def die(self):
        import os

        os._exit(1)

    def late_itself(self):
        raise TimeoutError("its own business")

    def refuse(self):
        raise MismatchExceeded("they differ")


cloudpickle.register_pickle_by_value(sys.modules[Worker.__module__])


@pytest.fixture(scope="module")
def start(cluster, tmp_path_factory):
    """Starts workers by name."""
    logs, made = tmp_path_factory.mktemp("workers"), []

    def worker(name):
        log = logs / f"{name}.log"
        made.append(spawn(Worker, f"group-{name}", log, {"num_cpus": 0}, {}, str(log)))
        return made[-1]

    yield worker
    for actor in made:
        ray.kill(actor.handle)


@pytest.fixture(scope="module")
def workers(start):
    made = [start("worker-0"), start("worker-1")]
    ray.get([actor.handle.sleep.remote(0) for actor in made])
    return made


async def test_answers_come_in_order(workers):
    pending = [actor.handle.sleep.remote(s) for actor, s in zip(workers, (0.2, 0.0), strict=True)]
    assert await call_all("worker", MINUTE, pending) == [0.2, 0.0]


async def test_a_limit_ends_the_wait(workers):
    told = r"^gave up waiting for a slow worker after 0 s without progress \(policy.step_timeout_s\)$"
    with pytest.raises(DeadlineExceeded, match=told):
        await call("a slow worker", HURRIED, workers[0].handle.sleep.remote(2))
    with pytest.raises(DeadlineExceeded, match=told):
        get("a slow worker", HURRIED, [workers[1].handle.sleep.remote(2)])


async def test_who_moves_is_waited_for(workers):
    """Three times as long as the limit, and so is the other one, who is done at once: ranks wait for each other."""
    pending = [workers[0].handle.train.remote(4.5), workers[1].handle.sleep.remote(4.4)]
    assert await call_all("update of policy rank", Limit(1.5, ""), pending, workers) == [4.5, 4.4]


async def test_who_stands_still_is_told_of(start):
    """The key, what each reported last, the silent one first; the end of its log; the stacks of its threads."""
    actors = [start("late-0"), start("late-1")]
    pending = [actors[0].handle.train.remote(2), actors[1].handle.hang.remote()]
    with pytest.raises(DeadlineExceeded) as stopped:
        await call_all("update of policy rank", Limit(3, "policy.step_timeout_s"), pending, actors)
    first, silent, other, *rest = str(stopped.value).splitlines()
    key = re.escape("after 3 s without progress (policy.step_timeout_s); last heard:")
    assert re.fullmatch(rf"gave up waiting for update of policy rank 1 {key}", first)
    heard = r"  group-{}: trained on {} of 12 micro-batches, (\d+) s ago; stacks of its threads in (\S+)"
    found = re.fullmatch(heard.format("late-1", 3), silent)
    assert found and int(found[1]) >= 4, silent
    assert re.fullmatch(heard.format("late-0", 11), other)
    assert rest == [f"the end of {actors[1].watch.log}:", "  loaded the model", "  ready"]
    with open(found[2]) as stacks:
        assert "in hang" in stacks.read()


async def test_what_kept_an_actor_from_starting_is_told(cluster):
    @ray.remote
    class Broken:
        def __init__(self):
            raise ValueError("1 validation error\nmax_model_len\n  too large [type=value_error]")

        def ready(self):
            pass

    told = "start of engine is lost: ValueError: 1 validation error max_model_len too large [type=value_error]"
    with pytest.raises(WorkerLost, match=f"^{re.escape(told)}$"):
        await call("start of engine", MINUTE, Broken.remote().ready.remote())


async def test_death(start):
    with pytest.raises(WorkerLost, match=r"^policy rank 0 is lost: The actor died unexpectedly.*worker process has died.*$"):
        await call("policy rank 0", MINUTE, start("dying-0").handle.die.remote())
    with pytest.raises(WorkerLost, match="it is lost"):
        get("it", MINUTE, [start("dying-1").handle.die.remote()])


async def test_a_task_that_raises_a_timeout_is_no_limit_of_ours(workers):
    with pytest.raises(RayTaskError, match="its own business"):
        await call("worker", MINUTE, workers[0].handle.late_itself.remote())
    with pytest.raises(RayTaskError, match="its own business"):
        get("worker", MINUTE, [workers[0].handle.late_itself.remote()])


async def test_ended_for_want_of_memory():
    """Ray's memory monitor cannot be provoked on a machine that other tests share: its error, raised where Ray raises it."""

    async def killed():
        raise OutOfMemoryError("Task was killed due to the node running low on memory.\nMemory on the node was ...")

    with pytest.raises(WorkerLost, match=r"^policy rank 0 is lost: Task was killed due to the node running low on memory\.$"):
        await call("policy rank 0", MINUTE, killed())


async def test_an_error_for_the_user_arrives_as_itself(workers):
    with pytest.raises(MismatchExceeded, match=r"^they differ$"):
        await call("worker", MINUTE, workers[0].handle.refuse.remote())


def test_a_run_on_ray_is_ended_by_sigterm_as_by_ctrl_c(cluster):
    """Ray's own handler would end the process with code 15, and the run as failed."""
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGTERM)
