"""A reward model as a Ray actor."""

from collections.abc import Sequence
from dataclasses import replace

from actors.group import Actor, call, end
from actors.process import log_to
from actors.stalled import Limit
from tower_rl.config.schema import RewardModel
from tower_rl.protocols import RunError
from tower_rl.status import transferring
from verifiers.types import Task, Verdict


class RewardActor:
    """One reward model; groups are scored one after the other."""

    def __init__(self, name: str, folder: str, entry: RewardModel, threads: int, log: str) -> None:
        """`name` of the entry among the configuration's verifiers, and the local folder with its model."""
        log_to(log)
        self.name, self.folder, self.entry, self.threads = name, folder, entry, threads

    def ready(self) -> None:
        """Load the model. Raises RunError when that cannot be done."""
        from pathlib import Path

        import torch

        from tower_rl.models.reward import ModelError, load_scorer

        torch.set_num_threads(self.threads)
        try:
            with transferring("loading the model"):
                self.scorer = load_scorer(Path(self.folder), self.entry, "cuda" if torch.cuda.is_available() else "cpu")
        except ModelError as error:
            raise RunError(f"verifiers.{self.name}.reward_model: {error}") from error

    def verify(self, tasks: list[Task]) -> list[Verdict]:
        """One verdict a task."""
        return [replace(verdict, verifier=self.name) for verdict in self.scorer.verdicts(tasks)]

    def shutdown(self) -> None:
        """Nothing to release."""


class RewardVerifier:
    """The driver's side of one reward model."""

    def __init__(self, actor: Actor, name: str, entry: RewardModel) -> None:
        self.actor, self.limit = actor, Limit(entry.timeout_s, f"verifiers.{name}.timeout_s")
        self.title = f"reward model {name} ({entry.reward_model})"

    async def ready(self) -> None:
        """Wait until the model is loaded. Raises RunError, DeadlineExceeded, WorkerLost."""
        await call(f"start of {self.title}", self.limit, self.actor.handle.ready.remote(), [self.actor])

    async def verdicts(self, tasks: Sequence[Task]) -> list[Verdict]:
        """One verdict a task. Raises DeadlineExceeded, WorkerLost."""
        pending = self.actor.handle.verify.remote(list(tasks))
        answered: list[Verdict] = await call(self.title, self.limit, pending, [self.actor])
        return answered

    async def shutdown(self) -> None:
        """End the process."""
        await end(f"end of {self.title}", [self.actor])
