"""Messages between a pool and its workers: JSON with a length in front, over a socket pair.

JSON and not pickle: a worker that a hostile response has taken over must not be able to run code in the parent.
"""

import json
import socket
import struct
from dataclasses import asdict
from typing import Any

from verifiers.types import Status, Task, Verdict

MAX_BYTES = 64 * 2**20
"""Longest message; a longer one is a protocol error."""
_LENGTH = struct.Struct("!I")


def encode(message: Any) -> bytes:
    """Raises TypeError or ValueError for what is not JSON-like, OverflowError for what is too long."""
    body = json.dumps(message).encode()
    if len(body) > MAX_BYTES:
        raise OverflowError(f"a message of {len(body)} bytes; the limit is {MAX_BYTES}")
    return _LENGTH.pack(len(body)) + body


class Decoder:
    """Collects bytes and gives back whole messages."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, data: bytes) -> None:
        self._bytes += data

    def next(self) -> Any:
        """The next message, or None while it is incomplete. Raises ValueError for what is no message."""
        if len(self._bytes) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes)
        if length > MAX_BYTES:
            raise ValueError(f"a message of {length} bytes")
        end = _LENGTH.size + length
        if len(self._bytes) < end:
            return None
        body = bytes(self._bytes[_LENGTH.size : end])
        del self._bytes[:end]
        return json.loads(body)


def receive(channel: socket.socket, decoder: Decoder) -> Any:
    """Block until a whole message is there. Raises EOFError when the other side is gone."""
    while (message := decoder.next()) is None:
        data = channel.recv(2**16)
        if not data:
            raise EOFError
        decoder.feed(data)
    return message


def task_to_wire(task: Task) -> dict[str, Any]:
    """A task as JSON-like values."""
    return asdict(task)


def task_from_wire(value: dict[str, Any]) -> Task:
    """Raises TypeError for fields that a task does not have."""
    return Task(**{**value, "messages": tuple(value.get("messages", ()))})


def verdict_to_wire(verdict: Verdict) -> dict[str, Any]:
    """A verdict as JSON-like values."""
    return asdict(verdict)


def verdict_from_wire(value: dict[str, Any]) -> Verdict:
    """Raises TypeError or ValueError for what is no verdict."""
    return Verdict(**{**value, "status": Status(value["status"]), "flags": tuple(value["flags"])})
