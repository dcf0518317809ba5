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
from pathlib import Path
from typing import IO, Any

WALL_FACTOR = 3


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
        _say(_run(code, text, seconds, limit))


def _say(answer: Any) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


def _run(code: Any, text: str, seconds: float, limit: int) -> dict[str, str]:
    with tempfile.TemporaryFile() as given, tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as raised:
        given.write(text.encode())
        given.seek(0)
        child = os.fork()
        if child == 0:
            _be_the_program(code, (given, printed, raised), seconds, limit)
        status = _wait(child, WALL_FACTOR * seconds)
        if status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGPROF):
            return {"error": "TimeLimit"}
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
    ended = select.poll()
    ended.register(os.pidfd_open(child), select.POLLIN)
    in_time = ended.poll(seconds * 1000)
    if not in_time:
        os.kill(child, signal.SIGKILL)
    status = os.waitpid(child, 0)[1]
    return status if in_time else None


def _be_the_program(code: Any, files: tuple[IO[bytes], ...], seconds: float, limit: int) -> None:
    given, printed, raised = files
    for file, descriptor in ((given, 0), (printed, 1), (raised, 2)):
        os.dup2(file.fileno(), descriptor)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    signal.setitimer(signal.ITIMER_PROF, seconds)
    sys.stderr = io.StringIO()  # of stderr, only the name of an exception is kept
    try:
        exec(code, {"__name__": "__main__", "__builtins__": __builtins__})
        sys.stdout.flush()
        os._exit(0)
    except SystemExit as leaving:
        sys.stdout.flush()
        os._exit(0 if leaving.code in (None, 0) else 1)
    except BaseException as error:
        os.write(raised.fileno(), type(error).__name__.encode())
        os._exit(1)


if __name__ == "__main__":
    main(float(sys.argv[1]), int(sys.argv[2]))
