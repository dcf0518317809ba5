"""Unprivileged user ids, one for each jail that runs at a time on this machine."""

import pwd
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

_RANGE = range(60706, 61184)
"""Assigned by no distribution, by systemd neither; below 65536, so that a container's user namespace has them too."""
_RETRY_S = 0.02


class Uids:
    """The uids that this process has claimed. Jails of one uid would share the kernel's budgets for pipes and signals."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[int] = []
        self._claims: dict[int, socket.socket] = {}

    @contextmanager
    def one(self) -> Iterator[int]:
        """A uid that nobody else has meanwhile. Waits while all are taken."""
        while (uid := self._take()) is None:
            time.sleep(_RETRY_S)
        try:
            yield uid
        finally:
            with self._lock:
                self._idle.append(uid)

    def _take(self) -> int | None:
        with self._lock:
            if self._idle:
                return self._idle.pop()
            for uid in _RANGE:
                if uid not in self._claims and (claim := _claim(uid)) is not None:
                    self._claims[uid] = claim
                    return uid
        return None


def _claim(uid: int) -> socket.socket | None:
    """An abstract socket's name belongs to one process at a time and vanishes with it: a lock without a file."""
    try:
        pwd.getpwuid(uid)
        return None  # somebody's after all
    except KeyError:
        pass
    claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    try:
        claim.bind(f"\0tower-rl-jail-{uid}")
    except OSError:
        claim.close()
        return None
    return claim
