"""In the candidate's jail: define the program, call its function once an input, answer with data. Standard library only.

`python calls.py FUNCTION SECONDS` with `program.py` beside it and on stdin a line `[args, kwargs]` a call. It answers a line that
says whether the program could be defined, then a line a call. The program shares this process, so whoever reads the answers must
take them for the program's own words. Nothing here knows what is expected.
"""

import json
import os
import signal
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from data import decode, encode


class TimeLimit(BaseException):
    """CPU time of a call is used up; not an Exception, so that programs seldom swallow it."""


class NoFunction(Exception):
    """The program does not define the function."""


class NotData(Exception):
    """The function returned what is no data."""


OUT_OF_TIME = {"error": TimeLimit.__name__}
"""The last answer: the calls that follow one that takes too long are not tried."""


def main(function: str, seconds: float) -> None:
    """Answer all calls, then leave without running what the program left behind (threads, atexit)."""
    answers = os.fdopen(os.dup(1), "w", encoding="ascii")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # what the program prints is no answer
    calls = sys.stdin.read().splitlines()
    signal.signal(signal.SIGPROF, _out_of_time)

    def say(answer: Any) -> None:
        answers.write(json.dumps(answer) + "\n")
        answers.flush()

    try:
        code = compile(Path(__file__).with_name("program.py").read_bytes(), "program.py", "exec", dont_inherit=True)
    except BaseException as error:
        say({"compile": type(error).__name__})
        os._exit(0)
    loaded = _limited(seconds, partial(_defined, code, function))
    say({key: word for key, word in loaded.items() if key == "error"})
    for call in calls if "value" in loaded else ():
        answer = _limited(seconds, partial(_called, loaded["value"], call))
        say(answer)
        if answer == OUT_OF_TIME:
            break
    os._exit(0)


def _limited(seconds: float, step: Callable[[], Any]) -> dict[str, Any]:
    try:
        signal.setitimer(signal.ITIMER_PROF, seconds, seconds / 10)  # again and again, for who catches everything
        value = step()
        signal.setitimer(signal.ITIMER_PROF, 0)
        return {"value": value}
    except BaseException as error:
        signal.setitimer(signal.ITIMER_PROF, 0)
        return {"error": type(error).__name__}


def _defined(code: Any, function: str) -> Any:
    module = types.ModuleType("program")
    sys.modules["program"] = module  # dataclasses and typing look there
    exec(code, module.__dict__)
    if function not in module.__dict__:
        raise NoFunction
    return module.__dict__[function]


def _called(function: Any, call: str) -> Any:
    args, kwargs = decode(json.loads(call))
    value = function(*args, **kwargs)
    try:
        return encode(value)
    except (TypeError, RecursionError) as error:
        raise NotData from error


def _out_of_time(*_: Any) -> None:
    raise TimeLimit


if __name__ == "__main__":
    main(sys.argv[1], float(sys.argv[2]))
