"""Verdicts that were given before, in a file: the same verifier, options and input need no second judgement."""

import hashlib
import json
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from verifiers import wire
from verifiers.types import Status, Verdict


def key(target: str, version: str, options: Any, tasks: Sequence[Any]) -> str:
    """Digest of all that a verdict depends on; equal for values that differ in the order of keys only."""
    facts = json.dumps([target, version, options, tasks], sort_keys=True, ensure_ascii=True)
    return hashlib.sha256(facts.encode()).hexdigest()


class VerdictCache:
    """A file of verdicts by key. Any thread may use it; invalid verdicts are not kept."""

    def __init__(self, path: Path) -> None:
        """Open or create the file; one that is no cache any more is replaced, since nothing in it is worth an error."""
        self._lock = threading.Lock()
        try:
            self._store = _open(path)
        except sqlite3.DatabaseError:
            path.unlink()
            self._store = _open(path)

    def get(self, key: str) -> list[Verdict] | None:
        """The verdicts of a call, their `seconds` 0; None for a call that is not known."""
        row = None
        with self._lock, suppress(sqlite3.DatabaseError):  # unreadable: judged again
            row = self._store.execute("select verdicts from cache where key = ?", (key,)).fetchone()
        return None if row is None else [replace(wire.verdict_from_wire(value), seconds=0.0) for value in json.loads(row[0])]

    def put(self, key: str, verdicts: Sequence[Verdict]) -> None:
        """Keep the verdicts of a call if all are valid. A full disk loses the entry, not the run."""
        if any(verdict.status is Status.INVALID for verdict in verdicts):
            return
        text = json.dumps([wire.verdict_to_wire(verdict) for verdict in verdicts])
        with self._lock, suppress(sqlite3.DatabaseError):
            self._store.execute("insert or replace into cache values (?, ?)", (key, text))

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._store.close()


def _open(path: Path) -> sqlite3.Connection:
    store = sqlite3.connect(path, check_same_thread=False, isolation_level=None, timeout=5)
    store.execute("pragma synchronous = off")  # a cache may forget
    store.execute("create table if not exists cache (key text primary key, verdicts text)")
    return store
