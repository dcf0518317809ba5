"""Prompts to scored groups, for every stage that samples."""

import asyncio
from collections.abc import Sequence
from contextlib import aclosing
from dataclasses import dataclass

from tower_rl.config.schema import Config
from tower_rl.config.stages import RlvrStage
from tower_rl.difficulty import teaches
from tower_rl.protocols import Generator, InvalidRateExceeded, VerifierPool
from tower_rl.stages.candidates import Candidates, Skip
from tower_rl.stages.clock import Clock
from tower_rl.status import finish, report
from tower_rl.together import together
from tower_rl.types import Prompt, ScoredGroup


@dataclass(frozen=True, slots=True)
class Drawn:
    """The groups of a step, and how they were come by."""

    scored: Sequence[ScoredGroup]
    refills: int
    skipped: Sequence[Skip]


async def draw(
    generator: Generator, verifiers: VerifierPool, candidates: Candidates, config: Config, stage: RlvrStage, clock: Clock
) -> Drawn:
    """The groups of the next `prompts_per_step` candidates. With dynamic sampling further rounds follow, each of as many
    prompts as groups that teach are missing, `max_refills` at most: so nothing that teaches is sampled and thrown away."""
    rounds, scored, skipped = 0, list[ScoredGroup](), list[Skip]()
    missing, most = config.rollout.prompts_per_step, 1 + (stage.dynamic_sampling.max_refills if stage.dynamic_sampling else 0)
    while missing and rounds < most:
        prompts, passed = candidates.take(missing)
        found = await sample(generator, verifiers, prompts, config.rollout.group_size, clock)
        candidates.observe(found)
        rounds, scored, skipped = rounds + 1, scored + found, skipped + passed
        missing -= sum(teaches(group, stage) for group in found)
    return Drawn(scored, rounds - 1, skipped)


async def sample(
    generator: Generator, verifiers: VerifierPool, prompts: Sequence[Prompt], samples: int, clock: Clock
) -> list[ScoredGroup]:
    """Generate and verify; verdicts of early groups overlap the generation of late ones. In the prompts' order."""
    verdicts: list[asyncio.Task[ScoredGroup]] = []
    sampled = 0
    report("sampled", "response", 0, samples * len(prompts))
    async with together() as tasks, aclosing(generator.generate(prompts, samples)) as groups:
        with clock("generate"):
            async for group in groups:
                sampled += len(group.rollouts)
                report("sampled", "response", sampled, samples * len(prompts))
                verdicts.append(tasks.create_task(verifiers.verify(group)))
        with clock("verify"):
            scored = await asyncio.gather(*verdicts)
    finish()
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
