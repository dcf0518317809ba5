"""verifiers.pool with real processes and verifiers that print, hang, crash and eat memory."""

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from verifiers import Status, Task, Verdict, process
from verifiers.pool import Pool, Spec

HELPERS = Path(__file__).parent / "helpers"


def specs(timeout_s: float = 1.0, retries: int = 0) -> dict[str, Spec]:
    names = {"hostile": "Hostile", "infrastructure": "Infrastructure", "stuck": "StuckAtStart", "broken": "BrokenAtStart"}
    return {key: Spec(f"hostile:{name}", {}, timeout_s, retries) for key, name in names.items()}


@pytest.fixture(autouse=True)
def helpers_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HELPERS))


@pytest.fixture
def pool() -> Iterator[Pool]:
    with Pool(specs(), workers=2, memory_mib=512) as pool:
        yield pool


def task(response: str, **meta: object) -> Task:
    return Task("", response, meta=meta)


def judge(pool: Pool, response: str, name: str = "hostile", **meta: object) -> Verdict:
    (verdict,) = pool.verify(name, [task(response, **meta)])
    return verdict


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody reaps has)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_output_of_the_verifier_does_not_reach_the_channel(pool: Pool) -> None:
    verdict = judge(pool, "print")
    assert (verdict.score, verdict.verifier) == (1.0, "hostile")
    assert verdict.seconds > 0


def test_environment_of_the_parent_is_not_seen(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    seen = judge(pool, "environment").reason.split()
    assert set(seen) <= {"LANG", "LC_CTYPE", "OMP_NUM_THREADS", "PATH", "PYTHONPATH"}


def test_exceptions_and_exits_are_invalid_and_the_worker_goes_on(pool: Pool) -> None:
    assert judge(pool, "raise").reason == "verifier error: RuntimeError: my own bug"
    assert judge(pool, "exit").reason == "verifier error: SystemExit: 0"
    assert "not JSON-like" in judge(pool, "not_json").reason
    assert judge(pool, "no_such_method").status is Status.INVALID
    assert judge(pool, "fine").score == 1.0


def test_crash_is_invalid_and_others_are_served(pool: Pool) -> None:
    verdicts = pool.verify("hostile", [task("crash"), task("fine"), task("crash"), task("fine")])
    assert [verdict.status for verdict in verdicts] == [Status.INVALID, Status.SCORED] * 2
    assert verdicts[0].reason.startswith("worker lost")


def test_task_that_is_not_json_is_invalid(pool: Pool) -> None:
    assert "not JSON-like" in judge(pool, "fine", thing=object()).reason
    assert "not JSON-like" in judge(pool, "fine", thing=threading.Lock()).reason


def test_cpu_time_used_up_is_a_failure_of_the_response_only_if_the_verifier_says_so(pool: Pool) -> None:
    blamed = judge(pool, "burn")
    assert (blamed.score, blamed.passed, blamed.flags) == (0.0, False, ("timeout",))
    assert blamed.reason.startswith("timeout")
    assert judge(pool, "burn", "infrastructure").status is Status.INVALID


def test_slow_task_does_not_hold_up_the_others(pool: Pool) -> None:
    slow = threading.Thread(target=judge, args=(pool, "burn"))
    slow.start()
    begin = time.monotonic()
    verdicts = pool.verify("hostile", [task("fine")] * 50)
    assert all(verdict.score == 1.0 for verdict in verdicts)
    assert slow.is_alive() or time.monotonic() - begin < 5
    slow.join()


def test_sleep_without_cpu_time_is_invalid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "WALL_MARGIN_S", 0.1)
    with Pool(specs(timeout_s=0.2), workers=1, memory_mib=512) as pool:
        verdict = judge(pool, "sleep")
    assert verdict.status is Status.INVALID
    assert "hung" in verdict.reason


def test_start_that_hangs_or_fails_is_invalid(pool: Pool, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "RuntimeError: no model file" in judge(pool, "fine", "broken").reason
    monkeypatch.setattr(process, "START_TIMEOUT_S", 2.0)
    verdict = judge(pool, "fine", "stuck")
    assert verdict.reason == "worker did not start: not ready within 2 s"


def test_memory_is_limited(pool: Pool) -> None:
    blamed = judge(pool, "allocate", mib=4096)
    assert (blamed.score, blamed.flags) == (0.0, ("out_of_memory",))
    assert judge(pool, "allocate", "infrastructure", mib=4096).status is Status.INVALID


def test_memory_that_earlier_tasks_filled_is_not_blamed_on_the_response() -> None:
    with Pool(specs(), workers=1, memory_mib=512) as pool:
        verdicts = pool.verify("hostile", [task("allocate", mib=200)] * 4)
    assert [verdict.score for verdict in verdicts] == [1.0] * 4


def test_worker_killed_in_the_middle_is_retried(tmp_path: Path) -> None:
    with Pool(specs(retries=1), workers=1, memory_mib=512) as pool:
        assert judge(pool, "die_once", mark=str(tmp_path / "mark")).score == 1.0
        assert judge(pool, "crash").reason.startswith("worker lost")


def test_sigkill_from_outside_in_the_middle_is_retried() -> None:
    with Pool(specs(retries=1), workers=1, memory_mib=512) as pool:
        first = int(judge(pool, "pid").reason)
        killer = threading.Timer(0.3, os.kill, (first, signal.SIGKILL))
        killer.start()
        assert judge(pool, "nap", seconds=1.0).score == 1.0
        assert int(judge(pool, "pid").reason) != first


def test_worker_that_died_while_idle_is_replaced_without_a_retry() -> None:
    with Pool(specs(retries=0), workers=1, memory_mib=512) as pool:
        os.kill(int(judge(pool, "pid").reason), signal.SIGKILL)
        time.sleep(0.2)
        assert judge(pool, "fine").score == 1.0


def test_children_are_killed_too(pool: Pool, tmp_path: Path) -> None:
    mark = tmp_path / "mark"
    assert judge(pool, "child", mark=str(mark)).reason.startswith("worker lost")
    time.sleep(0.2)
    assert gone(int(mark.read_text()))


def test_many_threads_get_their_own_answers(pool: Pool) -> None:
    answers: dict[int, list[Verdict]] = {}

    def call(index: int) -> None:
        answers[index] = pool.verify("hostile", [task("fine")] * index)

    threads = [threading.Thread(target=call, args=(index,)) for index in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert {index: len(verdicts) for index, verdicts in answers.items()} == {index: index for index in range(8)}


def test_close_answers_what_is_waiting_and_leaves_no_process() -> None:
    pool = Pool(specs(timeout_s=60), workers=1, memory_mib=512)
    pid = int(judge(pool, "pid").reason)
    answers: list[Verdict] = []
    waiting = threading.Thread(target=lambda: answers.extend(pool.verify("hostile", [task("burn"), task("fine")])))
    waiting.start()
    time.sleep(0.3)
    begin = time.monotonic()
    pool.close()
    pool.close()
    waiting.join(10)
    assert time.monotonic() - begin < 5
    assert [verdict.status for verdict in answers] == [Status.INVALID] * 2
    assert gone(pid)
    with pytest.raises(RuntimeError, match="closed"):
        pool.verify("hostile", [])


def test_a_group_aware_verifier_sees_the_responses_of_a_prompt_together() -> None:
    tasks = [Task(prompt, response) for prompt, response in [("p", "a"), ("p", "b"), ("p", "b"), ("q", "c"), ("q", "c")]]
    with Pool({"group": Spec("hostile:Group", {}, 1.0, 0, group_aware=True)}, workers=2, memory_mib=512) as pool:
        assert [verdict.score for verdict in pool.verify("group", tasks)] == pytest.approx([2 / 3, 1 / 3, 1 / 3, 0, 0])
        assert pool.verify("group", []) == []
        for bad, reason in (("burn", "timeout"), ("short", "verifier error: 1 answers")):
            verdicts = pool.verify("group", [Task("p", "a"), Task("p", bad), Task("q", "a")])
            assert [verdict.reason.startswith(reason) for verdict in verdicts] == [True, True, False]


def test_unknown_name(pool: Pool) -> None:
    with pytest.raises(KeyError, match="broken"):
        pool.verify("maths", [])


def test_workers_die_with_the_parent() -> None:
    code = (
        "import os, verifiers.pool as p; from verifiers import Task\n"
        "pool = p.Pool({'h': p.Spec('hostile:Hostile')}, 1, 512)\n"
        "print(pool.verify('h', [Task('', 'pid')])[0].reason, flush=True)\n"
        "os.kill(os.getpid(), 9)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONPATH": str(HELPERS)}, capture_output=True, text=True, timeout=60
    )
    time.sleep(0.3)
    assert gone(int(done.stdout))


def test_power_tower_costs_seconds_and_does_not_block_the_others(pool: Pool) -> None:
    """9**9**9**9 in one C call, past the pre-filter of `math`: only SIGKILL ends it."""
    with Pool({"power": Spec("power:Power", {}, 1.0, 0)}, workers=2, memory_mib=1024) as pool:
        begin = time.monotonic()
        verdicts = pool.verify("power", [Task("", "9")] + [Task("", "1")] * 20)
    assert (verdicts[0].score, verdicts[0].flags) in [(0.0, ("timeout",)), (0.0, ("out_of_memory",))]
    assert [verdict.score for verdict in verdicts[1:]] == [1.0] * 20
    assert time.monotonic() - begin < 15
