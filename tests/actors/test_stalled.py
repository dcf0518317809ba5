"""Processes that show no progress: who is ended, and what is said of them."""

import re
import signal
import socket
import subprocess
import sys
import time

import pytest
from processes import ROOT, alive, wait_until

from actors.stalled import Limit, Watch, ending_stalled, send_signal, write_stacks
from tower_rl.status import read, status_path

REPORTER = """
import sys, time
from actors.process import log_to
from tower_rl.status import report

log_to(sys.argv[1])
print("begun", flush=True)
for number in range(int(sys.argv[2])):
    report("training", "micro-batch", number, 100)
    time.sleep(0.1)
time.sleep(60)
"""


@pytest.fixture
def start(tmp_path):
    """Starts a process that reports so many times, and hangs then."""
    made = []

    def process(name, reports):
        log = tmp_path / f"{name}.log"
        made.append(subprocess.Popen([sys.executable, "-c", REPORTER, str(log), str(reports)], cwd=ROOT))
        wait_until(lambda: (found := read(status_path(log))) is not None and found.work, 60, made[-1])
        return made[-1], Watch(name, log)

    yield process
    for each in made:
        each.kill()
        each.wait()


def test_the_silent_one_is_ended_and_told_of(start, tmp_path):
    """Once the other one hangs, too: as long as any moves, all are waited for."""
    watches = [Watch(name, tmp_path / f"{name}.log") for name in ("rank-0", "rank-1")]
    told = []
    with ending_stalled(watches, Limit(1.0, "policy.step_timeout_s"), told.append) as seen:
        stuck, _ = start("rank-0", 3)
        busy, _ = start("rank-1", 20)
        assert not seen
        wait_until(lambda: seen, 20, busy)
        assert stuck.wait(10) == -signal.SIGKILL
        assert busy.poll() is None
        time.sleep(2.5)  # beyond the limit again: whoever takes its place may take longer to begin
    (error,), (line,) = seen, told
    assert line.endswith("; it is ended") and "last heard: rank-0: training 2 of 100 micro-batches, " in line
    lines = str(error).splitlines()
    assert lines[0] == ("gave up waiting for rank-0, rank-1 after 1 s without progress (policy.step_timeout_s); last heard:")
    assert lines[1].startswith("  rank-0: training 2 of 100 micro-batches, ")
    assert lines[2].startswith("  rank-1: training 19 of 100 micro-batches, ")
    assert lines[3:] == [f"the end of {watches[0].log}:", "  begun"]


def test_who_has_not_begun_is_waited_for(tmp_path):
    with ending_stalled([Watch("rank 0", tmp_path / "none.log")], Limit(0.1, ""), print) as seen:
        time.sleep(1.5)
    assert seen == []


def test_reports_of_earlier_processes_do_not_count(start, tmp_path):
    _, watch = start("rank-0", 1)
    with ending_stalled([watch], Limit(0.1, ""), print) as seen:
        assert not status_path(watch.log).exists()
        time.sleep(1.5)
    assert seen == []


def test_stacks_of_a_process_and_of_those_below_it(start, tmp_path):
    process, watch = start("rank-0", 1)
    stacks = watch.log.with_suffix(".stack")
    assert write_stacks(process.pid, str(stacks))
    assert re.search(r'File "<string>", line 1[01] in <module>', stacks.read_text()), "asleep, between reports or after them"


def test_a_process_that_is_gone_has_no_stacks(start):
    process, watch = start("rank-0", 1)
    process.kill()
    process.wait()
    assert not alive(process.pid)
    assert not send_signal(process.pid, 0)
    assert not write_stacks(process.pid, str(watch.log.with_suffix(".stack")))


def test_a_report_names_its_machine(start):
    _, watch = start("rank-0", 1)
    assert read(status_path(watch.log)).host == socket.gethostname()
