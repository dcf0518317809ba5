"""How fast jails start, and whether hostile programs end in time: `python benchmarks/sandbox.py`.

First: programs a second by two threads, each a fresh Python in a fresh jail; and each a fork in a jail that is used again. Then
200 at a time, one in ten hostile, with either.
"""

import os
import statistics
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from verifiers.sandbox import PYTHON, AnySandbox, Ended, Limits, PreforkedSandbox, Result, Sandbox

COUNT, THREADS = 400, 2
IN_FLIGHT, HOSTILE_EVERY = 200, 10
COMMAND = [PYTHON, "-I", "-S", "main.py"]
BENIGN = b"print(sum(int(x) for x in input().split()))"
HOSTILE = {
    "spin": b"while True: pass",
    "fork bomb": b"import os\nwhile True:\n try: os.fork()\n except OSError: pass",
    "memory": b"a = []\nwhile True:\n try: a.append(bytes(10**6))\n except MemoryError: pass",
    "flood": b"while True: print('x' * 10000)",
    "fill /tmp": b"n = 0\nwhile True:\n n += 1\n try: open(f'/tmp/{n}', 'wb').write(bytes(10**6))\n except OSError: pass",
    "daemon": b"import os, signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
    b"if os.fork() == 0: os.setsid()\ntime.sleep(1000)",
}


def starts(sandbox: AnySandbox) -> None:
    """Programs a second and the time of each."""

    def one(_: int) -> Result:
        return sandbox.run({"main.py": BENIGN}, COMMAND, b"1 2 3")

    with ThreadPoolExecutor(THREADS) as threads:
        list(threads.map(one, range(20)))
        began = time.monotonic()
        results = list(threads.map(one, range(COUNT)))
        seconds = time.monotonic() - began
    assert all(result.stdout == b"6\n" for result in results), "a program gave a wrong answer"
    times = [result.wall_s * 1000 for result in results]
    median, p99 = statistics.median(times), statistics.quantiles(times, n=100)[98]
    print(f"{COUNT / seconds:.0f} programs/s with {THREADS} threads; each {median:.1f} ms median, {p99:.1f} ms p99")


def hostile(sandbox: AnySandbox, wall_s: float) -> None:
    """All in flight at once; how they ended, and how long after their deadlines."""
    limits = Limits(wall_s=wall_s, cpu_s=wall_s, memory_mib=128, tmp_mib=16, processes=8)
    attacks = list(HOSTILE.items())

    def one(number: int) -> tuple[str, Result]:
        attack, turn = divmod(number, HOSTILE_EVERY)
        name, program = attacks[attack % len(attacks)] if turn == 0 else ("benign", BENIGN)
        return name, sandbox.run({"main.py": program}, COMMAND, b"1 2 3", limits)

    with ThreadPoolExecutor(IN_FLIGHT) as threads:
        results = list(threads.map(one, range(IN_FLIGHT)))
    late = max(result.wall_s for _, result in results) - wall_s
    print(f"{IN_FLIGHT} in flight, deadline {wall_s:g} s: the last ended {late:+.2f} s after it")
    for name in ("benign", *HOSTILE):
        print(f"  {name:10s} {_endings([result for kind, result in results if kind == name])}")


def _endings(results: Sequence[Result]) -> str:
    counts = {ended: sum(result.ended is ended for result in results) for ended in Ended}
    slowest = max(result.wall_s for result in results)
    return ", ".join(f"{count} {ended}" for ended, count in counts.items() if count) + f"; slowest {slowest:.2f} s"


if __name__ == "__main__":
    print(f"load at the start: {os.getloadavg()[0]:.2f}")
    kinds = {"fresh jails": Sandbox(), "preforked": PreforkedSandbox()}
    for name, sandbox in kinds.items():
        print(name, end=": ")
        starts(sandbox)
    for name, sandbox in kinds.items():
        print(name, end=": ")
        hostile(sandbox, wall_s=20.0)
