"""What a stage needs from the outside. `actors` implements these over Ray; tests implement them in-process.

Every call has a deadline that its implementation knows, and an implementation never waits past it. None of them
retries but the verifier pool, which repeats invalid verdicts as often as the configuration says; every other error ends
the run, and `--resume` goes on from the last complete checkpoint.
"""

from collections.abc import AsyncGenerator, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from tower_rl.types import Batch, Group, LmResult, Pack, Prompt, ScoredGroup, StepResult, StreamLoss


class RunError(Exception):
    """Ends the run with a message for its user; not a bug."""


class DeadlineExceeded(RunError):
    """Somebody did not answer in time; the message says who, and for how long one waited."""


class WorkerLost(RunError):
    """An actor died; the message says which."""


class InvalidRateExceeded(RunError):
    """Too many verdicts say that the verifier itself failed."""


class NothingToLearn(RunError):
    """No group of a step teaches anything."""


class MismatchExceeded(RunError):
    """Engine and trainer disagree about log-probabilities, or about the weights themselves."""


class StalenessExceeded(RunError):
    """Tokens come from older weights than the configuration allows."""


class Generator(Protocol):
    """Samples groups."""

    def generate(self, prompts: Sequence[Prompt], samples: int) -> AsyncGenerator[Group, None]:
        """Yields one group a prompt as each completes, in any order.

        Raises DeadlineExceeded, WorkerLost.
        """
        ...

    async def rest(self) -> None:
        """Nothing more is asked before new weights come: memory that the learner can use is given up until then.

        Raises DeadlineExceeded, WorkerLost.
        """
        ...


class VerifierPool(Protocol):
    """Scores groups."""

    async def verify(self, group: Group) -> ScoredGroup:
        """One verdict a rollout. Its own failures are invalid verdicts, never scores.

        Raises DeadlineExceeded, WorkerLost.
        """
        ...


class Reference(Protocol):
    """The frozen policy; `workers` batches are scored side by side."""

    workers: int

    async def annotate(self, batches: Sequence[Batch]) -> list[Batch]:
        """The same batches with reference log-probabilities.

        Raises DeadlineExceeded, WorkerLost.
        """
        ...


class Positioned(Protocol):
    """A source of prompts that goes on from where it was."""

    def state_dict(self) -> dict[str, Any]:
        """Where it is, as JSON holds it."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go there. Raises DataError when it is no longer the source that was saved."""
        ...


class Checkpointed(Protocol):
    """What goes on from where it was."""

    async def save(self, folder: Path) -> None:
        """Write weights and optimizer below `folder`: `deepspeed/` to go on from, `hf/` for everybody else."""
        ...

    async def load(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        ...


class Learner(Checkpointed, Protocol):
    """Trains the policy; `workers` data-parallel ranks act as one."""

    workers: int

    async def update(self, batches: Sequence[Batch], step: int) -> StepResult:
        """One optimizer step on one batch a rank; `step` counts from 0 and decides the learning rate.

        Raises DeadlineExceeded, WorkerLost.
        """
        ...


SCORED = "tokens_scored"
"""Metric of an update on rollouts: the number of tokens over which the others are means."""


class RlvrLearner(Learner, Protocol):
    """Trains the policy on rollouts; the metrics of an update are means over the tokens that it computed, and `SCORED`."""

    async def score(self, batches: Sequence[Batch]) -> list[Batch]:
        """The same batches, one a rank, with the old log-probabilities of the policy as it is now; those of the sampling stay
        beside them.

        Raises DeadlineExceeded, WorkerLost.
        """
        ...


class PreferenceLearner(Learner, Protocol):
    """Trains the policy on pairs; the metrics of an update are means over pairs, and `pairs`, their number."""

    async def evaluate(self, batches: Sequence[Batch]) -> Mapping[str, float]:
        """`loss` and the metrics of an update, without training.

        Raises DeadlineExceeded, WorkerLost.
        """
        ...

    async def divergence(self, batches: Sequence[Batch]) -> float:
        """Mean of log p(y) - log p_reference(y) over the answers.

        Raises DeadlineExceeded, WorkerLost.
        """
        ...


class Mapper(Protocol):
    """Calls a function on many items, anywhere."""

    def each(
        self, waited_for: str, items: Sequence[Mapping[str, Any]], function: Callable[..., Mapping[str, Any]]
    ) -> Iterator[Mapping[str, Any]]:
        """What the function, which can be pickled, answers to each item (its keyword arguments), as each is done.

        Raises DeadlineExceeded, WorkerLost, and the DataError of the function.
        """
        ...


class WeightSync(Protocol):
    """Brings the learner's weights to the engines."""

    async def push(self, version: int) -> Mapping[str, float]:
        """Send, check, and make `version` the one that engines sample with; answers the figures of the checks.

        Raises MismatchExceeded when a tensor arrives changed or the probe prompt's log-probabilities differ.
        """
        ...


class RankLearner(Protocol):
    """One rank of supervised training. Every method is a collective: all ranks call it, in the same order."""

    def update(self, packs: Sequence[Pack], learning_rate: float) -> LmResult:
        """One optimizer step on this rank's packs and those of all others."""
        ...

    def evaluate(self, packs: Iterable[Pack]) -> Mapping[str, StreamLoss]:
        """Losses by stream over the packs of all ranks."""
        ...

    def save(self, folder: Path) -> None:
        """Write this rank's part of weights and optimizer; when it returns, all ranks have written theirs."""
        ...

    def load(self, folder: Path) -> None:
        """Go on from what `save` wrote."""
        ...


class Feed(Protocol):
    """What one rank learns."""

    def step(self, number: int) -> Sequence[Pack]:
        """This rank's packs of a step."""
        ...

    def held_out(self) -> Iterable[Pack]:
        """This rank's packs for validation, the same each time."""
        ...

    def metrics(self) -> Mapping[str, float]:
        """Shares asked for and realised, epochs, up to the last step."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Where it is."""
        ...

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from there. Raises DataError when the data are not those of the state."""
        ...
