"""DeepSpeed ranks as Ray actors, and the Learner over them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ray

from actors.group import Actor, call_all, end
from actors.process import log_to, visible_gpus
from actors.ranks import enter, free_address, start_together
from actors.reference import annotated
from actors.stalled import Limit
from tower_rl.batching import rescored
from tower_rl.config.schema import Policy
from tower_rl.config.stages import RlvrStage
from tower_rl.protocols import SCORED
from tower_rl.schedule import learning_rate
from tower_rl.status import transferring
from tower_rl.types import Batch, Floats, MicroBatch, StepResult


@dataclass(frozen=True, slots=True)
class RankSettings:
    """All that a rank must know."""

    folder: str
    dtype: str
    policy: Policy
    seed: int
    threads: int
    log: str


class PolicyRank:
    """One rank. Its methods are collectives over all ranks."""

    def __init__(self, settings: RankSettings, rank: int, world: int) -> None:
        log_to(settings.log)
        self.settings, self.rank, self.world = settings, rank, world
        self.transfer: Any = None

    def address(self) -> tuple[str, int]:
        """A host and a free port of it, for the ranks to meet at."""
        return free_address()

    def gpus(self) -> tuple[str, ...]:
        """Those of this rank."""
        return visible_gpus() if ray.get_gpu_ids() else ()

    def start(self, address: tuple[str, int]) -> None:
        """Load the model and meet the other ranks."""
        settings = self.settings
        enter(self.rank, self.world, address, settings.threads)
        with transferring("loading the model"):
            self.trainer = self.trained()(Path(settings.folder), settings.dtype, settings.policy, seed=settings.seed)

    def trained(self) -> Any:
        """The class of the trainer; what it imports takes seconds."""
        from tower_rl.models.trainer import Trainer

        return Trainer

    def update(self, batch: Batch, objective: Any, rate: float) -> Any:
        """See Trainer.update."""
        return self.trainer.update(batch, objective, rate)

    def connect(self, path: str, client: Any) -> None:
        """Meet the engines: afterwards `send_weights` works."""
        from vllm.distributed.weight_transfer.factory import WeightTransferTrainerFactory

        from actors.shared_memory import TrainerInit
        from actors.weight_source import TrainerSource

        self.client = client
        self.transfer = WeightTransferTrainerFactory.trainer_init(
            TrainerInit(path=path, rank=self.rank), client=client, source=TrainerSource(self.trainer)
        )

    def send_weights(self, version: int) -> None:
        """Bring the current weights to every engine as `version`."""
        self.trainer.release()
        self.client.version = version
        self.transfer.send_weights()

    def probe(self, micro_batch: MicroBatch) -> Floats:
        """See Trainer.probe."""
        return self.trainer.probe(micro_batch)

    def reference(self, batch: Batch) -> list[Floats]:
        """See PackedRank.reference."""
        values: list[Floats] = self.trainer.reference(batch)
        return values

    def score(self, batch: Batch) -> list[Floats]:
        """See PackedRank.score."""
        values: list[Floats] = self.trainer.score(batch)
        return values

    def save(self, folder: str) -> None:
        """See Trainer.save."""
        self.trainer.save(Path(folder))

    def load(self, folder: str) -> None:
        """See Trainer.load."""
        self.trainer.load(Path(folder))

    def shutdown(self) -> None:
        """End the weight transfer."""
        if self.transfer is not None:
            self.transfer.shutdown()


class Ranks:
    """W ranks that act as one."""

    def __init__(self, actors: Sequence[Actor], policy: Policy, steps: int) -> None:
        """`steps` of the stage: the learning rate depends on them."""
        self.actors = list(actors)
        self.workers = len(self.actors)
        self.policy, self.steps = policy, steps
        self.limit = Limit(policy.step_timeout_s, "policy.step_timeout_s")

    async def ready(self) -> None:
        """Start all ranks."""
        await start_together("policy rank", Limit(self.policy.start_timeout_s, "policy.start_timeout_s"), self.actors)

    async def step(self, batches: Sequence[Batch], objective: Any, step: int) -> tuple[StepResult, dict[str, float]]:
        """One optimizer step; its result, whose metrics are the maxima over ranks, and sums over ranks."""
        rate = learning_rate(self.policy, step, self.steps)
        results = await self.all("update of policy rank", lambda h, batch: h.update.remote(batch, objective, rate), batches)
        sums = added([r.sums for r in results])
        peaks = {name: max(r.peaks.get(name, 0.0) for r in results) for r in results for name in r.peaks}
        return StepResult(sums.pop("loss"), results[0].grad_norm, rate, sum(r.tokens for r in results), peaks), sums

    async def all(self, waited_for: str, ask: Callable[[Any, Any], Any], each: Sequence[Any]) -> list[Any]:
        """What the ranks answer, each asked about its own."""
        pending = [ask(actor.handle, own) for actor, own in zip(self.actors, each, strict=True)]
        return await call_all(waited_for, self.limit, pending, self.actors)

    async def probe(self, micro_batch: MicroBatch) -> Floats:
        """[B, T] log-probabilities by the trainer."""
        same = [micro_batch] * self.workers
        values: Floats = (await self.all("probe of policy rank", lambda h, m: h.probe.remote(m), same))[0]
        return values

    async def save(self, folder: Path) -> None:
        """See tower_rl.protocols.Learner."""
        await self.all("checkpoint of policy rank", lambda h, path: h.save.remote(path), [str(folder)] * self.workers)

    async def load(self, folder: Path) -> None:
        """See tower_rl.protocols.Learner."""
        await self.all("load of policy rank", lambda h, path: h.load.remote(path), [str(folder)] * self.workers)

    async def shutdown(self) -> None:
        """End the ranks' processes."""
        await end("end of policy rank", self.actors)


class AdapterlessRanks:
    """A Reference: the ranks with their adapters switched off, so that no second copy of the model is needed."""

    def __init__(self, ranks: Ranks) -> None:
        self.ranks, self.workers = ranks, ranks.workers

    async def annotate(self, batches: Sequence[Batch]) -> list[Batch]:
        """See tower_rl.protocols.Reference; one batch a rank."""
        scores = await self.ranks.all("reference of policy rank", lambda h, batch: h.reference.remote(batch), batches)
        return [annotated(batch, values) for batch, values in zip(batches, scores, strict=True)]


class RlvrRanks(Ranks):
    """An RlvrLearner over W ranks."""

    def __init__(self, actors: Sequence[Actor], policy: Policy, stage: RlvrStage) -> None:
        super().__init__(actors, policy, stage.steps)
        self.stage = stage

    async def score(self, batches: Sequence[Batch]) -> list[Batch]:
        """See tower_rl.protocols.RlvrLearner."""
        scores = await self.all("log-probabilities of policy rank", lambda h, batch: h.score.remote(batch), batches)
        return [rescored(batch, values) for batch, values in zip(batches, scores, strict=True)]

    async def update(self, batches: Sequence[Batch], step: int) -> StepResult:
        """See tower_rl.protocols.Learner."""
        from tower_rl.losses.policy import Objective

        result, sums = await self.step(batches, Objective.of(self.stage), step)
        scored = sums.pop("scored")  # in an update without any advantage, no tokens
        means = {name: value / max(1.0, scored) for name, value in sums.items()}
        return replace(result, metrics={**means, **result.metrics, SCORED: scored})


def added(sums: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Sums of all ranks, by name."""
    return {name: sum(own[name] for own in sums) for name in sums[0]}
