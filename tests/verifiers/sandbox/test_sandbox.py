"""The sandbox's interface, its limits, and what it refuses."""

import os
import shlex
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from verifiers.sandbox import PYTHON, Ended, Limits, Result, Sandbox, SandboxUnavailable, UnsafeSandbox, jail, selftest

pytestmark = pytest.mark.jail

ROOT = Path(__file__).parents[3]
FORBIDDEN = (
    "bwrap: No permissions to create new namespace, likely because the kernel does not allow non-privileged user namespaces."
)
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root changes its uid")


def run(sandbox: Sandbox | UnsafeSandbox, program: str, stdin: bytes = b"", **limits: float) -> Result:
    return sandbox.run({"main.py": program.encode()}, [PYTHON, "-I", "-S", "main.py"], stdin, Limits(**limits))  # type: ignore[arg-type]


@pytest.fixture(params=["jail", "unsafe"])
def either(request: pytest.FixtureRequest) -> Sandbox | UnsafeSandbox:
    return UnsafeSandbox() if request.param == "unsafe" else request.getfixturevalue("sandbox")


@pytest.fixture
def untested(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(selftest, "_passed", False)


def test_files_stdin_output_and_exit_code(either: Sandbox | UnsafeSandbox) -> None:
    program = b"import sys; print(open('deep/er/data').read() + sys.stdin.read()); print('e', file=sys.stderr); sys.exit(3)"
    result = either.run({"main.py": program, "deep/er/data": b"file "}, [PYTHON, "-I", "-S", "main.py"], b"given")
    assert (result.ended, result.exit_code, result.stdout, result.stderr) == (Ended.EXIT, 3, b"file given\n", b"e\n")


def test_big_files_and_big_stdin(sandbox: Sandbox, no_traces: None) -> None:
    program = b"import sys; print(len(sys.stdin.buffer.read()), len(open('data', 'rb').read()))"
    result = sandbox.run({"main.py": program, "data": bytes(5 << 20)}, [PYTHON, "-I", "-S", "main.py"], bytes(7 << 20))
    assert result.stdout == b"%d %d\n" % (7 << 20, 5 << 20)


def test_output_up_to_the_limit_is_whole(either: Sandbox | UnsafeSandbox) -> None:
    assert run(either, "print('x' * 99_999)", output_bytes=100_000).ended is Ended.EXIT
    cut = run(either, "print('x' * 100_000)", output_bytes=100_000)
    assert (cut.ended, cut.exit_code, len(cut.stdout)) == (Ended.OUTPUT_LIMIT, None, 100_000)


@pytest.mark.parametrize("program", ["import time; time.sleep(60)", "while True: pass"])
def test_the_deadline(either: Sandbox | UnsafeSandbox, program: str) -> None:
    result = run(either, program, wall_s=0.5)
    assert (result.ended, result.exit_code) == (Ended.TIMEOUT, None)
    assert 0.5 <= result.wall_s < 1.5


def test_a_deadline_before_the_jail_is_made(sandbox: Sandbox, no_traces: None) -> None:
    for wall_s in (0.0, 0.001, 0.002, 0.003, 0.004, 0.005, 0.006, 0.008):
        assert run(sandbox, "import time; time.sleep(60)", wall_s=wall_s).ended is Ended.TIMEOUT
        time.sleep(0.05)  # an unborn jail dies with its bubblewrap, which takes a moment


def test_what_was_written_before_the_deadline_is_returned(sandbox: Sandbox) -> None:
    assert run(sandbox, "print('x', flush=True)\nwhile True: pass", wall_s=0.5).stdout == b"x\n"


def test_a_crash_is_told_from_an_exit(either: Sandbox | UnsafeSandbox) -> None:
    result = run(either, "import ctypes; ctypes.string_at(0)")
    assert (result.ended, result.exit_code) == (Ended.KILLED, 128 + signal.SIGSEGV)


def test_no_tmp(sandbox: Sandbox) -> None:
    result = run(sandbox, "open('/tmp/x', 'w')", tmp_mib=0)
    assert result.exit_code == 1 and b"Read-only file system" in result.stderr


def test_a_lower_limit_of_ours_is_kept() -> None:
    """A worker process has limits of its own, above which an unprivileged jail cannot go."""
    program = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_AS, (2**30, 2**30))\n"
        "from verifiers.sandbox import *\n"
        "result = UnsafeSandbox().run({}, [PYTHON, '-c', 'print(1)'], limits=Limits(memory_mib=4096))\n"
        "assert result.stdout == b'1\\n', result"
    )
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)


def test_jails_do_not_meet(sandbox: Sandbox, no_traces: None) -> None:
    """One bombs, one kills all it sees, one looks on: none starves, signals or sees another."""
    programs = {
        "bomb": "import os\nwhile True:\n try: os.fork()\n except OSError: pass",
        "killer": "import os, time\nfor _ in range(20):\n time.sleep(.05)\n try: os.kill(-1, 9)\n except OSError: pass\nprint(1)",
        "writer": "import time; open('/tmp/secret', 'w').write('2'); time.sleep(1); print(open('/tmp/secret').read())",
        "reader": "import os, time; time.sleep(0.5); print(os.listdir('/tmp'))",
        "forker": "import os, time\nfor _ in range(10):\n time.sleep(0.05)\n"
        " child = os.fork()\n if child == 0: os._exit(0)\n os.waitpid(child, 0)\nprint(3)",
    }
    with ThreadPoolExecutor(len(programs)) as threads:
        runs = {name: threads.submit(run, sandbox, program, wall_s=4.0) for name, program in programs.items()}
        outputs = {name: future.result().stdout for name, future in runs.items()}
    assert outputs == {"bomb": b"", "killer": b"1\n", "writer": b"2\n", "reader": b"[]\n", "forker": b"3\n"}


@needs_root
def test_each_jail_has_a_uid_of_its_own(sandbox: Sandbox) -> None:
    program = "import os, time; time.sleep(0.5); print(os.getuid())"
    with ThreadPoolExecutor(4) as threads:
        uids = {int(future.stdout) for future in threads.map(lambda _: run(sandbox, program), range(4))}
    assert len(uids) == 4 and 0 not in uids


@needs_root
def test_two_processes_do_not_take_the_same_uid(sandbox: Sandbox) -> None:
    run(sandbox, "")
    program = "from verifiers.sandbox.uids import Uids\nwith Uids().one() as uid: print(uid)"
    other = subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True)
    assert int(other.stdout) not in sandbox._jail._uids._claims


def test_a_killed_caller_takes_its_jails_along(sandbox: Sandbox) -> None:
    """As verifiers.process kills a worker: SIGKILL to its process group. Also to the process alone."""
    program = "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(97531)"
    caller = f"from verifiers.sandbox import *\nSandbox().run({{}}, [PYTHON, '-c', {program!r}], limits=Limits(wall_s=600))"
    for kill in (os.killpg, os.kill):
        process = subprocess.Popen([sys.executable, "-c", caller], cwd=ROOT, start_new_session=True)
        _wait(lambda: _running("97531") >= 3)  # bubblewrap and two of its processes
        kill(process.pid, signal.SIGKILL)
        process.wait()
        _wait(lambda: _running("97531") == 0, seconds=1.0)


def _running(text: str) -> int:
    count = 0
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            content = path.read_bytes()
        except OSError:
            continue
        count += text.encode() in content and b"sandbox import" not in content
    return count


def _wait(condition: Callable[[], bool], seconds: float = 20.0) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "waited in vain"
        time.sleep(0.02)


def test_an_interrupted_run_leaves_nothing(sandbox: Sandbox, no_traces: None) -> None:
    timer = threading.Timer(0.5, signal.pthread_kill, (threading.main_thread().ident, signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        run(sandbox, "import time; time.sleep(60)")
    timer.join()


@needs_root
def test_an_unprivileged_caller(sandbox: Sandbox) -> None:
    """It has no other uid to give, and shares its uid's budget of processes with no jail."""
    program = "from verifiers.sandbox import *; print(Sandbox().run({}, [PYTHON, '-c', 'import os; print(os.getuid())']).stdout)"
    as_user = ["/usr/bin/setpriv", "--reuid=61000", "--regid=61000", "--clear-groups", "--"]
    reachable = subprocess.run([*as_user, PYTHON, "-c", "import verifiers"], cwd=ROOT, capture_output=True)
    if reachable.returncode:
        pytest.skip("the checkout is not readable to others")
    ran = subprocess.run([*as_user, PYTHON, "-c", program], cwd=ROOT, capture_output=True)
    assert ran.stdout == b"b'61000\\n'\n", ran.stderr.decode()


def test_without_bubblewrap(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxUnavailable, match=r"bubblewrap is missing.*install bubblewrap"):
        Sandbox()


@pytest.fixture
def fake_bwrap(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A script that the jail's uid can reach."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        script = Path(folder, "bwrap")
        script.write_text(f"#!/bin/sh\necho {shlex.quote(FORBIDDEN)} >&2\nexit 1\n")
        script.chmod(script.stat().st_mode | stat.S_IXUSR | stat.S_IXGRP | stat.S_IXOTH)
        monkeypatch.setenv("PATH", folder)
        yield script


def test_where_user_namespaces_are_forbidden(untested: None, fake_bwrap: Path) -> None:
    with pytest.raises(SandboxUnavailable) as refusal:
        Sandbox()
    for told in ("No permissions to create new namespace", "unprivileged user namespaces", "sysctl", "Docker", "Kubernetes"):
        assert told in str(refusal.value)


@needs_root
def test_root_without_another_uid_is_refused(untested: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail, "_as_user", lambda uid: [])
    with pytest.raises(SandboxUnavailable, match="it runs as root"):
        Sandbox()


LEAKS = {  # what the self-test must say, and the options that are left out, each with its number of words
    "it sees other processes": {"--unshare-pid": 1, "--as-pid-1": 1},
    "it shares our net namespace": {"--unshare-net": 1},
    "it shares our ipc namespace": {"--unshare-ipc": 1},
    "it shares our uts namespace": {"--unshare-uts": 1, "--hostname": 2},
    "it makes user namespaces": {"--disable-userns": 1},
    "it writes outside /tmp": {"--remount-ro": 2},
    "/tmp or /dev/shm has no limit": {"--size": 2},
}


@pytest.mark.parametrize("property", LEAKS)
def test_the_self_test_sees_a_missing_option(untested: None, monkeypatch: pytest.MonkeyPatch, property: str) -> None:
    whole = jail._view

    def leaky(*given: Any) -> list[str]:
        options = whole(*given)
        for option, words in LEAKS[property].items():
            at = options.index(option)
            del options[at : at + words]
        return options

    monkeypatch.setattr(jail, "_view", leaky)
    with pytest.raises(SandboxUnavailable, match=property):
        Sandbox()


@pytest.mark.parametrize(
    ("limit", "told"),
    [
        ("as", "memory has no limit|ended by killed 137"),
        ("nproc", "a resource limit is not set"),
        ("fsize", "a resource limit is not set"),
    ],
)
def test_the_self_test_sees_a_missing_limit(untested: None, monkeypatch: pytest.MonkeyPatch, limit: str, told: str) -> None:
    whole = jail.resource_limits
    monkeypatch.setattr(
        jail, "resource_limits", lambda limits: [word for word in whole(limits) if not word.startswith(f"--{limit}=")]
    )
    with pytest.raises(SandboxUnavailable, match=told):
        Sandbox()


def test_the_self_test_sees_an_open_filter(untested: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail.seccomp, "program", lambda: b"\x06\x00\x00\x00\x00\x00\xff\x7f")  # return ALLOW
    with pytest.raises(SandboxUnavailable, match="filter is not in force"):
        Sandbox()


def test_the_self_test_sees_a_readable_host(untested: None, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = jail._view
    monkeypatch.setattr(jail, "_view", lambda *given: ["--ro-bind", "/etc", "/etc", *whole(*given)])
    with pytest.raises(SandboxUnavailable, match=r"it sees more than its files.*it reads the host's files"):
        Sandbox()


BENIGN = {
    "asyncio": "import asyncio; print(asyncio.run(asyncio.sleep(0, 'fine')))",
    "threads": "from concurrent.futures import ThreadPoolExecutor as T; print(*T(4).map(str.lower, ['FINE']))",
    "processes": "import multiprocessing\nwith multiprocessing.Pool(2) as pool: print(*pool.map(str.lower, ['FINE']))",
    "subprocess": "import subprocess, sys; print(subprocess.check_output([sys.executable, '-c', 'print(\"fine\")'], text=True))",
    "tempfile": "import tempfile; f = tempfile.TemporaryFile('w+'); f.write('fine'); f.seek(0); print(f.read())",
    "text": "print('ﬁne'.replace('ﬁ', 'fi'))",
    "random": "import random, secrets, uuid; uuid.uuid4(); secrets.token_hex(); print('fine')",
    "C modules": "import ctypes, decimal, sqlite3, zlib, lzma, hashlib, json, ssl; print('fine')",
    "time": "import time, datetime; datetime.datetime.now().astimezone(); time.sleep(0.01); print('fine')",
    "alarm": "import signal; signal.signal(signal.SIGALRM, lambda *_: print('fine')); signal.setitimer(0, 0.01); signal.pause()",
    "deep": "import sys; sys.setrecursionlimit(10**6)\ndef f(n): return 0 if n == 0 else f(n - 1)\nf(20_000); print('fine')",
}


@pytest.mark.parametrize("name", BENIGN)
def test_what_programs_may_do(sandbox: Sandbox, no_traces: None, name: str) -> None:
    result = run(sandbox, BENIGN[name])
    assert result.stdout.strip() == b"fine", result
