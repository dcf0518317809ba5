"""In the candidate's jail: run a whole program once an input, each in its own process. Standard library only.

`python programs.py SECONDS CHARACTERS` with `program.py` beside it and on stdin a JSON string a line, the program's stdin. It
answers a line that says whether the program compiles, then a line a run: what the run printed, or the name of what ended it.
"""

import io
import json
import os
import resource
import select
import signal
import sys
import tempfile
import types
from pathlib import Path
from typing import IO, Any, NoReturn

WALL_FACTOR = 3
OUT_OF_TIME = {"error": "TimeLimit"}
"""The last answer: the runs that follow one that takes too long are not tried."""


def main(seconds: float, limit: int) -> None:
    """Answer all runs."""
    inputs = [json.loads(line) for line in sys.stdin.read().splitlines()]
    try:
        code = compile(Path(__file__).with_name("program.py").read_bytes(), "program.py", "exec", dont_inherit=True)
    except BaseException as error:
        _say({"compile": type(error).__name__})
        return
    _say({})
    for text in inputs:
        answer = _run(code, text, seconds, limit)
        _say(answer)
        if answer == OUT_OF_TIME:
            break


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _run(code: Any, text: str, seconds: float, limit: int) -> dict[str, str]:
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as raised:
        given.write(text.encode(errors="surrogatepass"))
        given.seek(0)
        child = os.fork()
        if child == 0:
            _be_the_program(code, (given, printed, raised), seconds, limit)
        status = _wait(child, WALL_FACTOR * seconds)
        if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF):
            return OUT_OF_TIME
        if os.fstat(printed.fileno()).st_size >= limit:
            return {"error": "OutputLimit"}
        if status != 0:
            return {"error": _text(raised, 100) or "ExitStatus"}
        return {"value": _text(printed, limit)}


def _text(file: IO[bytes], limit: int) -> str:
    file.seek(0)
    return file.read(limit).decode(errors="replace")


def _wait(child: int, seconds: float) -> int | None:
    """The exit status, or None when it had to be killed."""
    end, poll = os.pidfd_open(child), select.poll()
    poll.register(end, select.POLLIN)
    in_time = poll.poll(seconds * 1000)
    os.close(end)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return status if in_time else None


def _be_the_program(code: Any, files: tuple[IO[bytes], ...], seconds: float, limit: int) -> NoReturn:
    """Raises SystemExit, which ends the child."""
    given, printed, raised = files
    for file, descriptor in ((given, 0), (printed, 1), (raised, 2)):
        os.dup2(file.fileno(), descriptor)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    sys.stderr = io.StringIO()  # of stderr, only the name of an exception is kept
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    try:
        exec(code, module.__dict__)
    except SystemExit:
        raise
    except BaseException as error:
        os.write(raised.fileno(), type(error).__name__.encode())
        raise SystemExit(1) from None
    raise SystemExit(0)  # threads and atexit belong to a program


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
