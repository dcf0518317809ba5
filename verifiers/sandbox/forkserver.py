"""Runs inside the jail of a PreforkedSandbox: forks a child for each program. No import of this project: it is not there.

Descriptor 0 is a socket to the caller. A request is JSON (script, arguments, sizes of files, resource limits) with four
descriptors: the contents of the files, and the program's stdin, stdout and stderr. The first answer is that it has begun, the
second JSON: the child's status, and whether the jail is as it was before. A jail that is not is given up.

Nothing of a program is read in this process, only in its child: what a fork inherits holds nothing of an earlier program.
"""

import array
import atexit
import bisect  # noqa: F401  this and the others without use: so that programs need not load them
import collections  # noqa: F401
import copy  # noqa: F401
import datetime  # noqa: F401
import functools  # noqa: F401
import heapq  # noqa: F401
import io  # noqa: F401
import itertools  # noqa: F401
import json
import math  # noqa: F401
import operator  # noqa: F401
import os
import random  # noqa: F401
import re  # noqa: F401
import resource
import select  # noqa: F401
import signal
import socket
import string  # noqa: F401
import sys
import tempfile  # noqa: F401
import threading
import types
import typing  # noqa: F401
from pathlib import Path
from typing import NoReturn

_REQUEST_BYTES = 1 << 16
_DESCRIPTORS = 4
_MOST_DESCRIPTORS = 4096


def serve(control: socket.socket) -> tuple[bytes, list[int]]:
    """Fork for each request; returns in the child. The server itself ends here, with the caller's end of the socket."""
    control.send(b"ready")
    while (request := _receive(control))[0]:
        child = os.fork()
        if child == 0:
            return request
        control.send(b"begun")
        for descriptor in request[1]:
            os.close(descriptor)
        status = os.waitpid(child, 0)[1]
        clean = _alone() and _emptied()
        control.send(json.dumps([status, clean]).encode())
        if not clean:
            break
    os._exit(0)


def _receive(control: socket.socket) -> tuple[bytes, list[int]]:
    """A message, empty at the end, and its descriptors."""
    descriptors = array.array("i")
    message, ancillary, _, _ = control.recvmsg(_REQUEST_BYTES, socket.CMSG_SPACE(_DESCRIPTORS * descriptors.itemsize))
    for _, _, data in ancillary:
        descriptors.frombytes(data)
    return message, list(descriptors)


def _alone() -> bool:
    """Whether no process is left: those whose parent died are children of the first one."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return True
    return False


def _emptied() -> bool:
    """Remove the files of /box; False if there is anything else, which is not worth cleaning up."""
    try:
        for name in os.listdir("/box"):
            os.unlink(f"/box/{name}")
        return not os.listdir("/tmp")
    except OSError:
        return False


def run(request: bytes, descriptors: list[int]) -> NoReturn:
    """Be the program, in a process that looks as if it had been started for it."""
    asked = json.loads(request)
    with open(descriptors[0], "rb") as contents:
        for name, size in asked["files"].items():
            path = Path("/box", name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(contents.read(size))
    for place, descriptor in enumerate(descriptors[1:]):
        os.dup2(descriptor, place)
    os.closerange(3, _MOST_DESCRIPTORS)
    os.chdir("/box")
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for kind, value in asked["limits"].items():
        resource.setrlimit(int(kind), (value, value))
    errors = sys.stdin.errors
    sys.stdin = sys.__stdin__ = open(0, closefd=False, errors=errors)  # type: ignore[misc]  # noqa: SIM115
    sys.stdout = sys.__stdout__ = open(1, "w", closefd=False, errors=errors)  # type: ignore[misc]  # noqa: SIM115
    sys.stderr = sys.__stderr__ = open(2, "w", buffering=1, closefd=False, errors="backslashreplace")  # type: ignore[misc]  # noqa: SIM115
    own = (sys.stdout, sys.stderr)
    script = f"/box/{asked['script']}"
    sys.argv = [asked["script"], *asked["arguments"]]
    sys.path[0] = "/box"
    sys.modules["__main__"] = module = types.ModuleType("__main__")
    module.__file__ = script
    code = _be(script, module)
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr, *own):  # the program may have put others in their place
        if stream is not None and not stream.closed:
            stream.flush()
    os._exit(code)  # taking every object apart, as Python's own end does, costs three times as much as all the rest


def _be(script: str, module: types.ModuleType) -> int:
    """Run the script; its exit code."""
    try:
        exec(compile(Path(script).read_bytes(), script, "exec", dont_inherit=True), module.__dict__)
    except SystemExit as end:
        if end.code is None or isinstance(end.code, int):
            return (end.code or 0) & 0xFF
        sys.stderr.write(f"{end.code}\n")
        return 1
    except BaseException:
        sys.excepthook(*sys.exc_info())
        return 1
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the kernel drops what a program sends to the first process without a handler
    run(*serve(socket.socket(fileno=0)))
