"""The pool of verifier processes as a Ray actor, and the VerifierPool over it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from actors.group import call, end
from actors.process import log_to
from tower_rl.config.schema import CompositeVerifier, LeafVerifier, VerifierEntry
from tower_rl.types import Group, ScoredGroup
from verifiers.compose import combine
from verifiers.pool import Pool, Spec
from verifiers.registry import resolve
from verifiers.types import Task, Verdict


class VerificationActor:
    """Keeps verifier processes away from engines and trainers."""

    def __init__(self, specs: Mapping[str, Spec], workers: int, memory_mib: int, log: str) -> None:
        log_to(log)
        self.pool = Pool(specs, workers=workers, memory_mib=memory_mib)

    async def verify(self, name: str, tasks: list[Task]) -> list[Verdict]:
        """One verdict a task."""
        return await asyncio.to_thread(self.pool.verify, name, tasks)

    def shutdown(self) -> None:
        """End the processes."""
        self.pool.close()


def specs(entries: Mapping[str, VerifierEntry]) -> dict[str, Spec]:
    """What the pool runs: each leaf, its name resolved here because workers may lack the packages' metadata."""
    return {
        name: Spec(target=resolve(entry.use), options=dict(entry.options), timeout_s=entry.timeout_s, retries=entry.retries)
        for name, entry in entries.items()
        if isinstance(entry, LeafVerifier)
    }


class Verification:
    """A VerifierPool over one actor; compositions are put together here."""

    def __init__(self, handle: Any, entries: Mapping[str, VerifierEntry], timeout_s: float) -> None:
        self.handle, self.entries, self.timeout_s = handle, entries, timeout_s

    async def verify(self, group: Group) -> ScoredGroup:
        """See tower_rl.protocols.VerifierPool."""
        prompt = group.prompt
        question = next(m["content"] for m in reversed(prompt.messages) if m["role"] == "user")
        tasks = [Task(question, r.text, prompt.reference, prompt.meta, prompt.messages) for r in group.rollouts]
        return ScoredGroup(prompt, group.rollouts, tuple(await self._verdicts(prompt.verifier, tasks)))

    async def _verdicts(self, name: str, tasks: list[Task]) -> list[Verdict]:
        entry = self.entries[name]
        if not isinstance(entry, CompositeVerifier):
            return await call(f"verifier {name}", self.timeout_s, self.handle.verify.remote(name, tasks))
        names = list(dict.fromkeys([*entry.gates, *entry.weights]))
        parts = dict(zip(names, await asyncio.gather(*(self._verdicts(n, tasks) for n in names)), strict=True))
        return [
            combine({n: verdicts[i] for n, verdicts in parts.items()}, entry.gates, entry.weights, name)
            for i in range(len(tasks))
        ]

    async def shutdown(self) -> None:
        """End the processes."""
        await end("end of verification", [self.handle])
