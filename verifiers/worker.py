"""A worker process of a pool: `python -m verifiers.worker FD PARENT MEMORY_MIB`, started by verifiers.pool only.

Protocol, one message at a time: it gets {"specs": {name: [target, options]}}, says "ready"; then for each
{"name", "tasks"} it says "began" (after loading the verifier, so that loading is not on the tasks' clock) and {"verdicts"}.
"""

import ctypes
import os
import resource
import signal
import socket
import sys
from typing import Any

from verifiers import registry, wire
from verifiers.calls import OUT_OF_MEMORY, verify
from verifiers.types import Verdict, Verifier, invalid

_PR_SET_PDEATHSIG = 1


def main(fd: int, parent: int, memory_mib: int) -> None:
    """Serve until the parent closes the channel or dies."""
    _die_with(parent)
    limit = memory_mib * 2**20
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.set_inheritable(fd, False)
    channel, decoder = socket.socket(fileno=fd), wire.Decoder()
    try:
        specs = wire.receive(channel, decoder)["specs"]
        channel.sendall(wire.encode("ready"))
        _serve(channel, decoder, specs)
    except (EOFError, ConnectionError):
        return


def _serve(channel: socket.socket, decoder: wire.Decoder, specs: dict[str, list[Any]]) -> None:
    loaded: dict[str, Verifier] = {}
    while True:
        request = wire.receive(channel, decoder)
        name = request["name"]
        try:
            if name not in loaded:
                target, options = specs[name]
                loaded[name] = registry.load(target, **options)
        except BaseException as error:
            failure = invalid(f"worker did not start: {type(error).__name__}: {error}"[:500], verifier=name)
            channel.sendall(_encoded([failure] * len(request["tasks"])))
            continue
        verifier = loaded[name]
        channel.sendall(wire.encode({"began": verifier.timeout_is_failure}))
        verdicts = verify(verifier, [wire.task_from_wire(task) for task in request["tasks"]], name)
        channel.sendall(_encoded(verdicts))
        if any(OUT_OF_MEMORY in verdict.flags for verdict in verdicts):
            return  # the parent starts a fresh one: an interpreter that ran out of memory is not to be trusted


def _encoded(verdicts: list[Verdict]) -> bytes:
    try:
        return wire.encode({"verdicts": [wire.verdict_to_wire(verdict) for verdict in verdicts]})
    except (TypeError, ValueError, OverflowError) as error:
        failure = invalid(f"verifier error: the verdict is not JSON-like: {error}"[:500], verifier=verdicts[0].verifier)
        return wire.encode({"verdicts": [wire.verdict_to_wire(failure)] * len(verdicts)})


def _die_with(parent: int) -> None:
    """SIGKILL for this process when the parent's thread that started it ends; no orphan burns a core after a crash."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it died before the line above
        os._exit(1)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
