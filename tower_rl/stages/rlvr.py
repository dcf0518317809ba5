"""Reinforcement learning with verifiable rewards: the synchronous loop, and the asynchronous one beside it."""

import asyncio
import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy as np

from tower_rl import advantage
from tower_rl.batching import assemble, audible, counted, divide
from tower_rl.config.methods import ADVANTAGES, skips_silent
from tower_rl.config.schema import Config
from tower_rl.config.stages import RlvrStage
from tower_rl.data.stream import PromptStream
from tower_rl.difficulty import teaches
from tower_rl.overlong import uncut
from tower_rl.protocols import (
    SCORED,
    Generator,
    InvalidRateExceeded,
    MismatchExceeded,
    NothingToLearn,
    Reference,
    RlvrLearner,
    RunError,
    VerifierPool,
    WeightSync,
)
from tower_rl.stages.candidates import Candidates
from tower_rl.stages.clock import Clock
from tower_rl.stages.journal import RlvrJournal, Step, figures
from tower_rl.stages.sampling import check_verdicts, draw, sample
from tower_rl.staleness import check_staleness
from tower_rl.together import together
from tower_rl.types import Advantages, Batch, Floats, Group, ScoredGroup, StepResult, StopReason


@dataclass(frozen=True, slots=True)
class Parts:
    """Those who do the work."""

    generator: Generator
    verifiers: VerifierPool
    reference: Reference | None
    learner: RlvrLearner
    weights: WeightSync


async def train_synchronously(parts: Parts, stream: PromptStream, journal: RlvrJournal, config: Config, stage: RlvrStage) -> None:
    """Train until `stage.steps`; goes on where the journal's newest checkpoint ends.

    consumes   prompts of the stream, in order
    produces   a row of metrics, a file of rollouts and a policy version every step, a checkpoint every `save_every` steps
    waits for  every verdict of the step before it trains, the weights in every engine before it samples again
    unblocked  by the deadlines of tower_rl.protocols: whoever does not answer ends the run by name
    """
    candidates = Candidates(stream, stage.difficulty)
    version, first = await journal.resume(parts.learner, candidates)
    await parts.weights.push(version)
    for step in range(first, stage.steps):
        clock = Clock()
        drawn = await draw(parts.generator, parts.verifiers, candidates, config, stage, clock)
        await parts.generator.rest()
        advantages, result = await learn(parts, step, drawn.scored, journal, config, stage, clock)
        version += 1
        with clock("sync"):
            probe = await parts.weights.push(version)
        told = Step(version, drawn.scored, advantages, result, probe, clock.seconds(), drawn.refills, drawn.skipped)
        journal.skip(step, drawn.skipped)
        journal.write(step, figures(told))
        if journal.due(step + 1, stage.save_every):
            await journal.save(parts.learner, candidates.state_dict(), step + 1, version)


@dataclass(frozen=True, slots=True)
class _Sampling:
    """The prompts of one step on their way to scored groups."""

    scored: asyncio.Task[list[ScoredGroup]]
    clock: Clock
    after: Mapping[str, Any]
    """State of the stream after these prompts."""


async def train_asynchronously(
    parts: Parts, stream: PromptStream, journal: RlvrJournal, config: Config, stage: RlvrStage, staleness: int
) -> None:
    """The same for the same prompts, but the next `staleness` steps are sampled while one trains.

    consumes   prompts of the stream, in order: a step has the same ones as in the synchronous loop
    produces   the same; a checkpoint knows the stream as of its own step, so that what was sampled ahead is sampled again
    waits for  every verdict of its own step before it trains; to sample step k + `staleness`, for the weights of step k in every
               engine, so no token can be older than that when it is trained on; engines go on with what they have begun
    unblocked  as the synchronous loop; and an error in what is sampled ahead ends the run at once, whatever it waits for
    """
    version, first = await journal.resume(parts.learner, stream)
    await parts.weights.push(version)
    begun: deque[_Sampling] = deque()
    async with together() as tasks:

        def begin(step: int) -> None:
            if step < stage.steps:
                clock, prompts = Clock(), stream.take(config.rollout.prompts_per_step)
                scored = sample(parts.generator, parts.verifiers, prompts, config.rollout.group_size, clock)
                begun.append(_Sampling(tasks.create_task(scored), clock, stream.state_dict()))

        for step in range(first, first + staleness + 1):
            begin(step)
        for step in range(first, stage.steps):
            clock, own = Clock(), begun.popleft()
            with clock("wait"):
                scored = await own.scored
            check_staleness(scored, version, staleness)
            advantages, result = await learn(parts, step, scored, journal, config, stage, clock)
            version += 1
            with clock("sync"):
                probe = await parts.weights.push(version)
            begin(step + staleness + 1)
            row = figures(Step(version, scored, advantages, result, probe, clock.seconds()))
            journal.write(step, row | {f"sampling/{phase}": value for phase, value in own.clock.phases.items()})
            if journal.due(step + 1, stage.save_every):
                await journal.save(parts.learner, own.after, step + 1, version)


async def learn(
    parts: Parts,
    step: int,
    scored: Sequence[ScoredGroup],
    journal: RlvrJournal,
    config: Config,
    stage: RlvrStage,
    clock: Clock,
) -> tuple[list[Advantages], StepResult]:
    """From the scored groups of a step to new weights of the learner: each group's advantages, and what the updates told."""
    try:
        groups, advantages, kl = await estimated(parts, scored, config, stage, clock)
    except RunError:
        journal.keep(step, scored, [], [])  # the verdicts may show why
        raise
    journal.keep(step, scored, groups, advantages)
    check_verdicts(scored, config.verification.max_invalid_rate)
    check_groups(scored, groups, ADVANTAGES[stage.advantage].fewest)
    divided, order = divide(len(groups), stage.mini_batches, stage.epochs, (config.run.seed, step))
    mini_batches = [
        await prepare(parts, [groups[i] for i in own], [advantages[i] for i in own], config, stage, clock) for own in divided
    ]
    with clock("train"):
        result = averaged([await parts.learner.update(mini_batches[i], step) for i in order])
    check_mismatch(result, stage)
    return advantages, replace(result, metrics={**result.metrics, **kl})


async def estimated(
    parts: Parts, scored: Sequence[ScoredGroup], config: Config, stage: RlvrStage, clock: Clock
) -> tuple[list[Group], list[Advantages], dict[str, float]]:
    """What is trained on of the scored groups, with its advantages, and metrics of a KL term in the reward."""
    fewest = ADVANTAGES[stage.advantage].fewest
    teaching = [group for group in scored if teaches(group, stage)]
    groups, rewards = advantage.trainable(teaching, fewest)
    dimensions = advantage.by_part(teaching, list(stage.reward_parts), fewest)
    penalties, kl = await kl_in_reward(parts, groups, config, stage, clock)
    advantages = advantage.estimate(stage, groups, rewards, dimensions, penalties)
    if stage.overlong is not None and stage.overlong.mask:
        groups, advantages = uncut(groups, advantages)
    return groups, advantages, kl


async def prepare(
    parts: Parts, groups: Sequence[Group], advantages: Sequence[Advantages], config: Config, stage: RlvrStage, clock: Clock
) -> list[Batch]:
    """One batch a rank, with all log-probabilities that its updates need; to be called before the first update of a step."""
    budget, temperature = config.policy.tokens_per_micro_batch, config.rollout.temperature
    heard = audible(groups, advantages) if skips_silent(stage) else (groups, advantages)
    batches = assemble(*heard, ranks=parts.learner.workers, budget=budget, temperature=temperature)
    batches = [counted(batch, groups) for batch in batches]
    if parts.reference is not None and stage.kl_in == "loss":
        with clock("reference"):
            batches = await parts.reference.annotate(batches)
    if stage.recomputes:
        with clock("old_logprobs"):
            batches = await parts.learner.score(batches)
    return batches


def averaged(results: Sequence[StepResult]) -> StepResult:
    """Several updates as one: means over them, but sums of tokens and maxima of maxima.

    Metrics are those of the updates that scored tokens at all, where there are any: the others have zeros.
    """
    telling = [result for result in results if result.metrics.get(SCORED) != 0] or results
    metrics = {
        name: (max if name.endswith("/max") else fmean)([result.metrics[name] for result in telling])
        for name in results[0].metrics
        if name != SCORED
    }
    return StepResult(
        fmean(result.loss for result in results),
        fmean(result.grad_norm for result in results),
        results[0].learning_rate,
        sum(result.tokens for result in results),
        metrics,
    )


async def kl_in_reward(
    parts: Parts, groups: Sequence[Group], config: Config, stage: RlvrStage, clock: Clock
) -> tuple[list[Floats] | None, dict[str, float]]:
    """What `kl_in: reward` takes from the reward of each rollout's tokens, and `kl`; None and nothing where it takes nothing.

    The reference scores packed batches, so the rollouts are packed once before they have advantages.
    """
    if parts.reference is None or stage.kl_in == "loss" or not groups:
        return None, {}
    budget, temperature = config.policy.tokens_per_micro_batch, config.rollout.temperature
    none_yet = [np.zeros(len(group.rollouts), np.float32) for group in groups]
    batches = assemble(groups, none_yet, ranks=parts.learner.workers, budget=budget, temperature=temperature)
    with clock("reference"):
        batches = await parts.reference.annotate(batches)
    penalties, kl = advantage.penalties(batches, stage.kl_estimator, stage.kl_coefficient)
    return penalties, {"kl": kl}


def check_groups(scored: Sequence[ScoredGroup], groups: Sequence[Group], fewest: int) -> None:
    """Raises InvalidRateExceeded when no group can be trained on, NothingToLearn when none of `groups` is left to."""
    if not any(sum(v.score is not None for v in group.verdicts) >= fewest for group in scored):
        number = {1: "a valid verdict", 2: "two valid verdicts"}[fewest]
        raise InvalidRateExceeded(f"no group has {number}, so there is nothing to train on")
    if not groups:
        equal = sum(len({v.score for v in group.verdicts if v.score is not None}) < 2 for group in scored)
        stops = [r.stop_reason for group in scored for r in group.rollouts]
        raise NothingToLearn(
            f"none of the step's {len(scored)} groups is left to train on: in {equal} all scores are equal, and "
            f"{stops.count(StopReason.LENGTH)} of {len(stops)} responses were cut by rollout.max_new_tokens. The prompts are "
            "too easy or too hard for the model, the limit is too short, or stages.N.dynamic_sampling too strict"
        )


def check_mismatch(result: StepResult, stage: RlvrStage) -> None:
    """Raises RunError when the update is not finite, MismatchExceeded when engine and trainer disagree about the rollouts."""
    if not (math.isfinite(result.loss) and math.isfinite(result.grad_norm)):
        raise RunError(
            f"the loss ({result.loss:g}) or the norm of its gradient ({result.grad_norm:g}) is not a number; "
            "the last checkpoint is unharmed"
        )
    mean, outside = result.metrics["mismatch/mean"], result.metrics["mismatch/outside"]
    if not (mean <= stage.mismatch.mean and outside <= stage.mismatch.outside):
        raise MismatchExceeded(
            f"engine and trainer differ by {mean:.3f} nats a token (bound {stage.mismatch.mean}) and {outside:.0%} of the "
            f"ratios are outside [0.8, 1.25] (bound {stage.mismatch.outside:.0%}). Either they do not run the same weights, or "
            "they do not compute the same distribution (dtype, temperature, truncated sampling), or, where steps are sampled "
            "ahead, the policy moves too far in one update for tokens of that age. Bounds: stages.N.mismatch"
        )
