"""The frozen policy as Ray actors."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from actors.group import Actor, call_all, end
from actors.process import log_to
from actors.ranks import enter, free_address, start_together
from actors.stalled import Limit
from tower_rl.dealing import collect, deal
from tower_rl.status import transferring
from tower_rl.types import Batch, Floats


class ReferenceActor:
    """A whole copy of the starting policy."""

    def __init__(self, folder: str, dtype: str, chunk: int, threads: int, log: str) -> None:
        log_to(log)
        import torch

        from tower_rl.models.load import load_model
        from tower_rl.models.packed import PackedPolicy

        torch.set_num_threads(threads)
        device = "cuda" if torch.cuda.is_available() else "cpu"
        with transferring("loading the model"):
            self.policy = PackedPolicy(load_model(Path(folder), dtype), chunk).to(device).eval()

    def ready(self) -> None:
        """Answers once the model is loaded."""

    def shutdown(self) -> None:
        """Nothing to release."""

    def score(self, batch: Batch) -> list[Floats]:
        """[B, T] log-probabilities of each micro-batch."""
        from tower_rl.models.packed import score_all

        return score_all(self.policy, batch, "scoring")


class ReferenceRank:
    """One rank of a starting policy that all of them hold together. `start` and `score` are collectives."""

    def __init__(self, folder: str, dtype: str, chunk: int, threads: int, log: str, rank: int, world: int) -> None:
        log_to(log)
        self.folder, self.dtype, self.chunk, self.threads = Path(folder), dtype, chunk, threads
        self.rank, self.world = rank, world

    def address(self) -> tuple[str, int]:
        """A host and a free port of it, for the ranks to meet at."""
        return free_address()

    def start(self, address: tuple[str, int]) -> None:
        """Meet the other ranks and load the model."""
        enter(self.rank, self.world, address, self.threads)
        from tower_rl.models.reference import ShardedReference

        with transferring("loading the model"):
            self.model = ShardedReference(self.folder, self.dtype, self.chunk)

    def shutdown(self) -> None:
        """Nothing to release."""

    def score(self, batch: Batch) -> list[Floats]:
        """See ShardedReference.score."""
        return self.model.score(batch)


class References:
    """A Reference over R actors; batches go round."""

    def __init__(self, actors: Sequence[Actor], timeout_s: float) -> None:
        self.actors, self.limit = list(actors), Limit(timeout_s, "reference.timeout_s")
        self.workers = len(self.actors)

    async def ready(self) -> None:
        """Wait until every copy is loaded."""
        await call_all("start of reference", self.limit, [a.handle.ready.remote() for a in self.actors], self.actors)

    async def annotate(self, batches: Sequence[Batch]) -> list[Batch]:
        """See tower_rl.protocols.Reference."""
        pending = [self.actors[i % self.workers].handle.score.remote(batch) for i, batch in enumerate(batches)]
        scores = await call_all("log-probabilities of reference", self.limit, pending, self.actors)
        return [annotated(batch, values) for batch, values in zip(batches, scores, strict=True)]

    async def shutdown(self) -> None:
        """End the processes."""
        await end("end of reference", self.actors)


class ReferenceGroup(References):
    """A Reference over R ranks of one model: each takes part in the passes of all others."""

    async def ready(self) -> None:
        """Start all ranks."""
        await start_together("reference rank", self.limit, self.actors)

    async def annotate(self, batches: Sequence[Batch]) -> list[Batch]:
        """See tower_rl.protocols.Reference; any number of batches."""
        pending = [a.handle.score.remote(dealt) for a, dealt in zip(self.actors, deal(batches, self.workers), strict=True)]
        scores = collect(batches, await call_all("log-probabilities of reference rank", self.limit, pending, self.actors))
        return [annotated(batch, values) for batch, values in zip(batches, scores, strict=True)]


def annotated(batch: Batch, scores: Sequence[Floats]) -> Batch:
    """The batch with the reference log-probabilities of its micro-batches."""
    micro_batches = [
        dataclasses.replace(m, reference_logprobs=values) for m, values in zip(batch.micro_batches, scores, strict=True)
    ]
    return dataclasses.replace(batch, micro_batches=tuple(micro_batches))
