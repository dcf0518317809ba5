"""The preforked sandbox: what still holds, what is given up, and that one program does not meet the next."""

import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from verifiers.sandbox import PYTHON, Ended, Limits, PreforkedSandbox, Result, SandboxUnavailable, jail, preforked, selftest

pytestmark = pytest.mark.jail

FOLDER = Path(__file__).parents[1] / "attacks"
ATTACKS = sorted(path for path in FOLDER.glob("*.py") if path.stem not in ("tools", "cpu", "writing", "other_processes"))
LIMITS = Limits(wall_s=20, cpu_s=15, memory_mib=256, processes=17, open_files=64, file_mib=4, tmp_mib=16)
SHORT = Limits(wall_s=1.5, memory_mib=256, file_mib=4, tmp_mib=16)


@pytest.fixture(scope="module")
def warm() -> Iterator[PreforkedSandbox]:
    sandbox = PreforkedSandbox()
    yield sandbox
    sandbox.close()


def run(sandbox: PreforkedSandbox, program: str, limits: Limits = LIMITS, stdin: bytes = b"") -> Result:
    return sandbox.run({"main.py": program.encode()}, [PYTHON, "-s", "main.py"], stdin, limits)


def idle(sandbox: PreforkedSandbox, limits: Limits = LIMITS) -> list[int]:
    return [server._running.process.pid for server in sandbox._idle[limits]]


def processes_of(uids: set[int]) -> list[Path]:
    def owner(path: Path) -> int:
        try:
            return path.stat().st_uid
        except FileNotFoundError:
            return -1

    return [path for path in Path("/proc").glob("[0-9]*") if owner(path) in uids]


@pytest.mark.parametrize("path", ATTACKS, ids=lambda path: path.stem)
def test_attack(warm: PreforkedSandbox, monkeypatch: pytest.MonkeyPatch, path: Path) -> None:
    monkeypatch.setenv("HF_TOKEN", "secret")
    stated = re.search(r"Ends: (\w+(?: or \w+)*)", path.read_text(encoding="utf-8").splitlines()[0])
    expected = [Ended(end) for end in stated[1].split(" or ")] if stated else [Ended.EXIT]
    limits = SHORT if stated else LIMITS
    files = {"main.py": path.read_bytes(), "tools.py": (FOLDER / "tools.py").read_bytes()}
    result = warm.run(files, [PYTHON, "-S", "main.py"], limits=limits)
    assert result.ended in expected, result
    assert result.wall_s < limits.wall_s + 1.0
    if not stated:
        assert (result.exit_code, result.stdout) == (0, b"held\n"), result
    assert run(warm, "import os; print(os.listdir('/tmp'), os.listdir('/box'))").stdout == b"[] ['main.py']\n"


def test_it_looks_like_a_python_of_its_own(warm: PreforkedSandbox) -> None:
    program = (
        "import sys, __main__\nassert __main__.__file__ == __file__ == '/box/main.py' and __name__ == '__main__'\n"
        "import deep.er, atexit, threading, time\natexit.register(lambda: print('at exit'))\n"
        "threading.Thread(target=lambda: (time.sleep(0.1), print('thread'))).start()\n"
        "print(sys.argv, sys.stdin.read(), deep.er.x, file=sys.stdout)\nsys.stderr.write('e')\nsys.exit(3)"
    )
    files = {"main.py": program.encode(), "deep/er.py": b"x = 1"}
    result = warm.run(files, [PYTHON, "-s", "-E", "main.py", "a", "b"], b"given")
    assert result.stdout == b"['main.py', 'a', 'b'] given 1\nthread\nat exit\n", result
    assert (result.ended, result.exit_code, result.stderr) == (Ended.EXIT, 3, b"e")


@pytest.mark.parametrize(
    ("program", "ended", "code"),
    [
        ("1 / 0", Ended.EXIT, 1),
        ("def", Ended.EXIT, 1),
        ("import sys; sys.exit('told')", Ended.EXIT, 1),
        ("import sys; sys.exit(300)", Ended.EXIT, 44),
        ("import sys; sys.stdout.close()", Ended.EXIT, 0),
        ("import ctypes; ctypes.string_at(0)", Ended.KILLED, 139),
        ("import os; os.kill(os.getpid(), 9)", Ended.KILLED, 137),
        ("import os; os._exit(7)", Ended.EXIT, 7),
    ],
)
def test_ends(warm: PreforkedSandbox, program: str, ended: Ended, code: int) -> None:
    result = run(warm, program)
    assert (result.ended, result.exit_code) == (ended, code), result


def test_cpu_time_counts_for_each_program(warm: PreforkedSandbox) -> None:
    limits = Limits(wall_s=20, cpu_s=1)
    for _ in range(3):
        assert run(warm, "import time\nwhile time.process_time() < 0.7: pass", limits).ended is Ended.EXIT
    assert run(warm, "while True: pass", limits).ended is Ended.KILLED


def test_a_jail_is_used_again_until_something_is_left_in_it(warm: PreforkedSandbox) -> None:
    run(warm, "")
    (first,) = idle(warm)
    run(warm, "print(open('/dev/urandom', 'rb').read(5))")
    assert idle(warm) == [first]
    for leaves in ("open('/tmp/x', 'w')", "import os; os.mkdir('x')", "import os, time\nif os.fork() == 0: time.sleep(60)"):
        run(warm, "")
        (before,) = idle(warm)
        assert run(warm, leaves).ended is Ended.EXIT
        assert idle(warm) == []
        assert not Path(f"/proc/{before}").exists()


def test_the_server_cannot_be_hurt_by_signals(warm: PreforkedSandbox) -> None:
    run(warm, "")
    before = idle(warm)
    program = "import os, signal\nfor n in signal.valid_signals(): os.kill(1, n)\nprint(os.getppid())"
    assert run(warm, program).stdout == b"1\n"
    assert run(warm, "print(2)").stdout == b"2\n"
    assert idle(warm) == before


def test_a_program_finds_nothing_of_the_one_before(warm: PreforkedSandbox) -> None:
    """In all that it can read of its own memory, which it got from the server."""
    secret = "a-very-particular-word"
    run(warm, f"x = '{secret}' * 1000; print(x)", stdin=secret.encode() * 1000)
    (server,) = idle(warm)
    search = (
        "import gc, sys\nword = 'a-very-' + 'particular-word'\n"
        "print(any(word in repr(each) for each in gc.get_objects() if each is not globals() and isinstance(each, (dict, list))))"
    )
    assert run(warm, search).stdout == b"False\n"
    assert idle(warm) == [server]


def test_a_lost_jail_is_replaced(warm: PreforkedSandbox) -> None:
    run(warm, "")
    for server in warm._idle[LIMITS]:
        server._running.kill()
    assert run(warm, "print(1)").stdout == b"1\n"


def test_threads_that_come_and_go(warm: PreforkedSandbox) -> None:
    """The kernel ends a jail with the thread that started it: that must not be one of ours."""
    thread = threading.Thread(target=run, args=(warm, ""))
    thread.start()
    thread.join()
    before = idle(warm)
    time.sleep(0.1)
    assert run(warm, "print(1)").stdout == b"1\n"
    assert idle(warm) == before
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda i: run(warm, f"print({i})"), range(40)))
    assert [result.stdout for result in results] == [b"%d\n" % i for i in range(40)]


def test_nothing_is_left_when_it_is_closed() -> None:
    sandbox = PreforkedSandbox()
    run(sandbox, "import time; time.sleep(0.1)")
    uids = set(sandbox._jail._uids._claims)
    sandbox.close()
    assert not processes_of(uids)


@pytest.mark.parametrize("command", [["/bin/sh", "main.py"], [PYTHON, "-c", "print(1)"], [PYTHON]])
def test_other_commands_are_refused(warm: PreforkedSandbox, command: list[str]) -> None:
    with pytest.raises(ValueError, match="runs /usr/bin/python3 with one of the files"):
        warm.run({"main.py": b""}, command)


def test_the_self_test_sees_a_missing_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = preforked.resource_values
    monkeypatch.setattr(preforked, "resource_values", lambda limits: dict(list(whole(limits).items())[1:]))
    with pytest.raises(SandboxUnavailable, match=r"memory has no limit|ended by killed 137"):
        PreforkedSandbox()


def test_the_self_test_sees_an_open_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jail.seccomp, "program", lambda: b"\x06\x00\x00\x00\x00\x00\xff\x7f")  # return ALLOW
    monkeypatch.setattr(selftest, "_passed", True)
    with pytest.raises(SandboxUnavailable, match="filter is not in force"):
        PreforkedSandbox()
