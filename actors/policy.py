"""DeepSpeed ranks as Ray actors, and the Learner over them."""

import socket
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray

from actors.group import call, call_all, end
from actors.process import log_to
from tower_rl.config.schema import Policy, RlvrStage
from tower_rl.schedule import learning_rate
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
        with socket.socket() as probe:
            probe.bind(("", 0))
            return ray.util.get_node_ip_address(), probe.getsockname()[1]

    def start(self, address: tuple[str, int]) -> None:
        """Load the model and meet the other ranks."""
        import os

        os.environ |= {
            "RANK": str(self.rank),
            "LOCAL_RANK": "0",  # Ray shows each actor its own devices only
            "WORLD_SIZE": str(self.world),
            "MASTER_ADDR": address[0],
            "MASTER_PORT": str(address[1]),
        }
        import torch

        from tower_rl.models.trainer import Trainer

        torch.set_num_threads(self.settings.threads)
        settings = self.settings
        self.trainer = Trainer(Path(settings.folder), settings.dtype, settings.policy, seed=settings.seed)

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
        self.client.version = version
        self.transfer.send_weights()

    def probe(self, micro_batch: MicroBatch) -> Floats:
        """See Trainer.probe."""
        return self.trainer.probe(micro_batch)

    def save(self, folder: str) -> None:
        """See Trainer.save."""
        self.trainer.save(Path(folder))

    def load(self, folder: str) -> None:
        """See Trainer.load."""
        self.trainer.load(Path(folder))

    def shutdown(self) -> None:
        """Remove the shared memory."""
        if self.transfer is not None:
            self.transfer.shutdown()


class Ranks:
    """A Learner over W ranks."""

    def __init__(self, handles: Sequence[Any], policy: Policy, stage: RlvrStage) -> None:
        self.handles = list(handles)
        self.workers = len(self.handles)
        self.policy, self.stage = policy, stage

    async def ready(self) -> None:
        """Start all ranks."""
        timeout = self.policy.start_timeout_s
        address = await call("policy rank 0", timeout, self.handles[0].address.remote())
        await call_all("start of policy rank", timeout, [h.start.remote(address) for h in self.handles])

    async def update(self, batches: Sequence[Batch], step: int) -> StepResult:
        """See tower_rl.protocols.Learner."""
        from tower_rl.losses.policy import Objective

        stage = self.stage
        objective = Objective(
            stage.loss, stage.aggregation, stage.clip_low, stage.clip_high, stage.kl_coefficient, stage.kl_estimator
        )
        rate = learning_rate(self.policy, step, stage.steps)
        pending = [h.update.remote(b, objective, rate) for h, b in zip(self.handles, batches, strict=True)]
        results = await call_all("update of policy rank", self.policy.step_timeout_s, pending)
        total = {name: sum(r.sums[name] for r in results) for name in results[0].sums}
        loss = total.pop("loss")
        metrics = {name: value / batches[0].global_tokens for name, value in total.items()}
        metrics["mismatch/max"] = max(r.largest for r in results)
        return StepResult(loss, results[0].grad_norm, rate, sum(r.tokens for r in results), metrics)

    async def probe(self, micro_batch: MicroBatch) -> Floats:
        """[B, T] log-probabilities by the trainer."""
        pending = [h.probe.remote(micro_batch) for h in self.handles]
        return (await call_all("probe of policy rank", self.policy.step_timeout_s, pending))[0]

    async def save(self, folder: Path) -> None:
        """See tower_rl.protocols.Learner."""
        await call_all(
            "checkpoint of policy rank", self.policy.step_timeout_s, [h.save.remote(str(folder)) for h in self.handles]
        )

    async def load(self, folder: Path) -> None:
        """See tower_rl.protocols.Learner."""
        await call_all("load of policy rank", self.policy.step_timeout_s, [h.load.remote(str(folder)) for h in self.handles])

    async def shutdown(self) -> None:
        """Remove shared memory."""
        await end("end of policy rank", self.handles)
