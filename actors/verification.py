"""The pool of verifier processes as a Ray actor, and the VerifierPool over it and the reward models."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from actors.group import Actor, call, end
from actors.process import log_to
from actors.reward import RewardVerifier
from actors.stalled import Limit
from tower_rl.config.schema import CompositeVerifier, LeafVerifier, RewardModel, VerifierEntry
from tower_rl.status import finish, report
from tower_rl.types import Group, ScoredGroup
from verifiers.cache import VerdictCache
from verifiers.compose import all_of, combine, max_of, weighted_mean
from verifiers.pool import Pool, Spec
from verifiers.registry import group_aware, resolve, version
from verifiers.types import Task, Verdict


@dataclass(frozen=True, slots=True)
class PoolSize:
    """What a pool of verifier processes may take."""

    workers: int
    memory_mib: int


class VerificationActor:
    """Keeps verifier processes away from engines and trainers."""

    def __init__(self, pools: Sequence[tuple[PoolSize, Mapping[str, Spec]]], cache: str, log: str) -> None:
        """One pool for each size and what runs in it; `cache` is the file for the verdicts of those that keep them."""
        log_to(log)
        self.kept = VerdictCache(Path(cache)) if any(spec.cached for _, specs in pools for spec in specs.values()) else None
        self.judged = self.open = 0
        made = [(Pool(specs, size.workers, size.memory_mib, self.kept, self._count), specs) for size, specs in pools]
        self.pools = {name: pool for pool, specs in made for name in specs}

    async def verify(self, name: str, tasks: list[Task]) -> list[Verdict]:
        """One verdict a task."""
        self.open += 1
        try:
            return await asyncio.to_thread(self.pools[name].verify, name, tasks)
        finally:
            self.open -= 1
            if not self.open:
                finish()
                self.judged = 0

    def _count(self, verdicts: int) -> None:
        self.judged += verdicts
        report("judged", "response", self.judged)

    def shutdown(self) -> None:
        """End the processes."""
        for pool in self.pools.values():
            pool.close()
        if self.kept is not None:
            self.kept.close()


def pools(entries: Mapping[str, VerifierEntry], shared: PoolSize) -> list[tuple[PoolSize, dict[str, Spec]]]:
    """What runs where: a pool of its own for each leaf that asks for one, and one for all others."""
    together: dict[str, Spec] = {}
    found = [(shared, together)]
    for name, entry in entries.items():
        if isinstance(entry, LeafVerifier):
            if entry.workers is None and entry.memory_mib is None:
                together[name] = _spec(entry)
            else:
                size = PoolSize(entry.workers or shared.workers, entry.memory_mib or shared.memory_mib)
                found.append((size, {name: _spec(entry)}))
    return [(size, specs) for size, specs in found if specs]


def _spec(entry: LeafVerifier) -> Spec:
    """Names are resolved here, on the driver, because workers may lack the packages' metadata."""
    return Spec(
        target=resolve(entry.use),
        options=dict(entry.options),
        timeout_s=entry.timeout_s,
        retries=entry.retries,
        group_aware=group_aware(entry.use),
        version=version(entry.use) if entry.cache else "",
        cached=entry.cache,
    )


class Verification:
    """A VerifierPool over the actor of the pools and those of reward models; compositions are put together here."""

    def __init__(
        self, actor: Actor, entries: Mapping[str, VerifierEntry], timeout_s: float, rewards: Mapping[str, RewardVerifier]
    ) -> None:
        """`rewards` has each entry of the kind RewardModel."""
        self.actor, self.entries, self.rewards = actor, entries, rewards
        self.limit = Limit(timeout_s, "verification.timeout_s")

    async def ready(self) -> None:
        """Wait until the reward models are loaded; the pools' processes start with their first task."""
        await asyncio.gather(*(reward.ready() for reward in self.rewards.values()))

    async def verify(self, group: Group) -> ScoredGroup:
        """See tower_rl.protocols.VerifierPool."""
        prompt = group.prompt
        question = next(m["content"] for m in reversed(prompt.messages) if m["role"] == "user")
        tasks = [Task(question, r.text, prompt.reference, prompt.meta, prompt.messages) for r in group.rollouts]
        return ScoredGroup(prompt, group.rollouts, tuple(await self._verdicts(prompt.verifier, tasks)))

    async def _verdicts(self, name: str, tasks: list[Task]) -> list[Verdict]:
        entry = self.entries[name]
        if isinstance(entry, RewardModel):
            return await self.rewards[name].verdicts(tasks)
        if not isinstance(entry, CompositeVerifier):
            return await call(f"verifier {name}", self.limit, self.actor.handle.verify.remote(name, tasks), [self.actor])
        names = list(dict.fromkeys([*entry.gates, *entry.parts, *entry.watched]))
        answers = dict(zip(names, await asyncio.gather(*(self._verdicts(n, tasks) for n in names)), strict=True))
        return [
            combine({n: verdicts[i] for n, verdicts in answers.items()}, name, entry.parts, _mix(entry), entry.gates)
            for i in range(len(tasks))
        ]

    async def shutdown(self) -> None:
        """End the processes."""
        await asyncio.gather(end("end of verification", [self.actor]), *(each.shutdown() for each in self.rewards.values()))


def _mix(entry: CompositeVerifier) -> Callable[[Sequence[Verdict]], Verdict]:
    if entry.all_of:
        return all_of
    return max_of if entry.max_of else partial(weighted_mean, weights=list(entry.weights.values()))
