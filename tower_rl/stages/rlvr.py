"""Reinforcement learning with verifiable rewards: the synchronous loop.

consumes   prompts of the stream, in order
produces   a row of metrics, a file of rollouts and a policy version every step, a checkpoint every `save_every` steps
waits for  every verdict of the step before it trains, the weights in every engine before it samples again
unblocked  by the deadlines of tower_rl.protocols: whoever does not answer ends the run by name
"""

import asyncio
import math
from collections.abc import Sequence
from dataclasses import dataclass

from tower_rl import advantage
from tower_rl.batching import assemble
from tower_rl.config.schema import Config, RlvrStage
from tower_rl.data.stream import PromptStream
from tower_rl.protocols import (
    Generator,
    InvalidRateExceeded,
    Learner,
    MismatchExceeded,
    Reference,
    RunError,
    VerifierPool,
    WeightSync,
)
from tower_rl.stages.clock import Clock
from tower_rl.stages.journal import Journal, Step
from tower_rl.types import Prompt, ScoredGroup, StepResult


@dataclass(frozen=True, slots=True)
class Parts:
    """Those who do the work."""

    generator: Generator
    verifiers: VerifierPool
    reference: Reference | None
    learner: Learner
    weights: WeightSync


async def train_synchronously(parts: Parts, stream: PromptStream, journal: Journal, config: Config, stage: RlvrStage) -> None:
    """Train until `stage.steps`; goes on where the journal's newest checkpoint ends."""
    version, first = await resume(parts, stream, journal)
    await parts.weights.push(version)
    for step in range(first, stage.steps):
        clock = Clock()
        prompts = stream.take(config.rollout.prompts_per_step)
        scored = await sample(parts, prompts, config.rollout.group_size, clock)
        groups, rewards = advantage.trainable(scored)
        advantages = advantage.estimate(stage.advantage, rewards, normalize_by_std=stage.normalize_by_std)
        journal.keep(step, scored, groups, advantages)
        check_verdicts(scored, config.verification.max_invalid_rate)
        batches = assemble(
            groups,
            advantages,
            ranks=parts.learner.workers,
            budget=config.policy.tokens_per_micro_batch,
            temperature=config.rollout.temperature,
        )
        if parts.reference is not None:
            with clock("reference"):
                batches = await parts.reference.annotate(batches)
        with clock("train"):
            result = await parts.learner.update(batches, step)
        check_mismatch(result, stage)
        version += 1
        with clock("sync"):
            probe = await parts.weights.push(version)
        journal.write(Step(step, version, scored, advantages, result, probe, clock.seconds()))
        if (step + 1) % stage.save_every == 0 or step + 1 == stage.steps:
            await journal.save(parts.learner, stream, step + 1, version)


async def resume(parts: Parts, stream: PromptStream, journal: Journal) -> tuple[int, int]:
    """Bring learner and stream to the newest checkpoint; answers the version to sample with and the next step."""
    state = journal.newest()
    if state is None:
        return journal.next_version(0), 0
    await parts.learner.load(state.folder)
    stream.load_state_dict(state.stream)
    return journal.next_version(state.version), state.step


async def sample(parts: Parts, prompts: Sequence[Prompt], samples: int, clock: Clock) -> list[ScoredGroup]:
    """Generate and verify; verdicts of early groups overlap the generation of late ones. In the prompts' order."""
    verdicts: list[asyncio.Task[ScoredGroup]] = []
    try:
        with clock("generate"):
            async for group in parts.generator.generate(prompts, samples):
                verdicts.append(asyncio.create_task(parts.verifiers.verify(group)))
        with clock("verify"):
            scored = await asyncio.gather(*verdicts)
    finally:
        for task in verdicts:
            task.cancel()
    return sorted(scored, key=lambda group: group.prompt.cursor)


def check_verdicts(scored: Sequence[ScoredGroup], bound: float) -> None:
    """Raises InvalidRateExceeded when verifiers fail too often, with the commonest reason."""
    verdicts = [v for group in scored for v in group.verdicts]
    reasons = [f"{v.verifier}: {v.reason}" for v in verdicts if v.score is None]
    if len(reasons) > bound * len(verdicts):
        commonest = max(set(reasons), key=reasons.count)
        raise InvalidRateExceeded(
            f"{len(reasons)} of {len(verdicts)} verdicts are invalid (verification.max_invalid_rate {bound}); "
            f"most often {commonest}"
        )
    if not any(sum(v.score is not None for v in group.verdicts) >= 2 for group in scored):
        raise InvalidRateExceeded("no group has two valid verdicts, so there is nothing to train on")


def check_mismatch(result: StepResult, stage: RlvrStage) -> None:
    """Raises MismatchExceeded when engine and trainer disagree about the rollouts."""
    mean, outside = result.metrics["mismatch/mean"], result.metrics["mismatch/outside"]
    if not (mean <= stage.mismatch.mean and outside <= stage.mismatch.outside):
        raise MismatchExceeded(
            f"engine and trainer differ by {mean:.3f} nats a token (bound {stage.mismatch.mean}) and {outside:.0%} of the "
            f"ratios are outside [0.8, 1.25] (bound {stage.mismatch.outside:.0%}). Either they do not run the same weights, or "
            "they do not compute the same distribution (dtype, temperature, truncated sampling). Bounds: stages.N.mismatch"
        )
    if math.isnan(result.loss):
        raise RunError("the loss is not a number; the last checkpoint is unharmed")
