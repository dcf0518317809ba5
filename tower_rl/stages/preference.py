"""Preference optimization: rounds in which answers are sampled, scored, paired and learned.

consumes   prompts of the stream, in order, and the answers that the data give to them
produces   a folder of pairs every round, a row of metrics every step, validation on held-out pairs around every round, a
           checkpoint every `save_every` steps and at the end of a round
waits for  every chunk of scored answers before the next is sampled, all pairs of a round before its first step
unblocked  by the deadlines of tower_rl.protocols: whoever does not answer ends the run by name
"""

import asyncio
import dataclasses
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tower_rl.config.schema import Config
from tower_rl.config.stages import PreferenceStage
from tower_rl.data.preference import rounds
from tower_rl.data.preference.competing import Competing
from tower_rl.data.preference.reference import ReferenceCache, Sides
from tower_rl.data.preference.rounds import RoundFiles
from tower_rl.data.preference.selection import Selection
from tower_rl.data.preference.table import read_pairs
from tower_rl.data.preference.types import Pair
from tower_rl.data.stream import PromptStream
from tower_rl.files import replace_text
from tower_rl.pair_batching import by_pair, mismatched, order, pair_batches
from tower_rl.protocols import Mapper, PreferenceLearner, Reference, RunError, WeightSync
from tower_rl.stages.clock import Clock
from tower_rl.stages.journal import PreferenceJournal
from tower_rl.stages.sampling import check_verdicts, sample
from tower_rl.stopping import Stop
from tower_rl.types import Batch, Prompt, StepResult


@dataclass(frozen=True, slots=True)
class Parts:
    """Those who do the work."""

    answers: Competing
    mapper: Mapper
    reference: Reference | None
    """None for losses that need none."""
    cache: ReferenceCache
    learner: PreferenceLearner
    weights: WeightSync | None
    """None where nobody samples."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """Pairs with the log-probabilities that the reference gives to their answers, if there is one."""

    pairs: list[Pair]
    reference: list[Sides] | None

    def some(self, places: Sequence[int]) -> "Prepared":
        """Those at these places."""
        reference = None if self.reference is None else [self.reference[place] for place in places]
        return Prepared([self.pairs[place] for place in places], reference)


async def train_preferences(
    parts: Parts, stream: PromptStream, journal: PreferenceJournal, config: Config, stage: PreferenceStage
) -> None:
    """Train until `stage.steps`; goes on where the journal's newest checkpoint ends, with the pairs that stand already."""
    version, done = await journal.resume(parts.learner, stream)
    for number in range(done // stage.round_steps, stage.rounds):
        await push(parts, version)
        files = RoundFiles(journal.folder.pairs / f"round-{number}", number)
        if not files.summary.exists():
            summary = await build(parts, stream, files, config, stage, version, journal.stop)
            replace_text(files.summary, json.dumps(journal.about_round() | summary, ensure_ascii=False) + "\n")
            journal.show_round(summary)
        await parts.answers.rest()
        journal.write_rounds()
        stream.load_state_dict(json.loads(files.summary.read_text(encoding="utf-8"))["stream"])
        training = await prepared(parts, files.pairs, config, stage)
        held_out = await prepared(parts, RoundFiles(journal.folder.pairs / "round-0", 0).held_out, config, stage)
        if number == done == 0:
            await validate(parts, held_out, journal, config, number, 0)
        first, end = number * stage.round_steps, min((number + 1) * stage.round_steps, stage.steps)
        steps = order(len(training.pairs), stage.pairs_per_step, end - first, f"{config.run.seed}/{number}")
        for step, places in enumerate(steps, start=first):
            if step < done:
                continue
            clock = Clock()
            with clock("train"):
                result = await update(parts, training.some(places), config, stage, step)
            version += 1
            epoch = (step + 1 - first) * stage.pairs_per_step / len(training.pairs)
            about = {"round": number, "epoch": epoch, "policy_version": version}
            journal.write(step, about | figures(result, clock.seconds()))
            if step + 1 == end:
                await validate(parts, held_out, journal, config, number, end)
            if step + 1 == end or journal.due(step + 1, stage.save_every):
                await journal.save(parts.learner, stream.state_dict(), step + 1, version)
    await push(parts, version)


async def push(parts: Parts, version: int) -> None:
    """Bring the weights to those who sample."""
    if parts.weights is not None:
        await parts.weights.push(version)


async def build(
    parts: Parts, stream: PromptStream, files: RoundFiles, config: Config, stage: PreferenceStage, version: int, stop: Stop
) -> dict[str, Any]:
    """Sample, score and choose the pairs of a round; chunks that stand already are taken as they are. Answers its summary.

    Raises Stopped between two chunks if the run shall end early.
    """
    clock, size = Clock(), config.rollout.prompts_per_step
    chunks: list[Path] = []
    for begin in range(0, stage.prompts_per_round, size):
        prompts = stream.take(min(size, stage.prompts_per_round - begin))
        chunks.append(files.candidates(len(chunks)))
        if not chunks[-1].exists():
            await keep(parts, prompts, chunks[-1], config, clock)
            stop.heed()
    with clock("select"):
        statistics, held_out = await asyncio.to_thread(choose, parts, files, chunks, config, stage)
    summary = {
        "round": files.number,
        "prompts": stage.prompts_per_round,
        "policy_version": version,
        "held_out": held_out,
        "statistics": statistics,
        "pairs": statistics["pairs"],
        "stream": stream.state_dict(),
        **{f"time/{phase}": seconds for phase, seconds in clock.seconds().items()},
    }
    check_pairs(summary, files, stage)
    return summary


async def keep(parts: Parts, prompts: Sequence[Prompt], path: Path, config: Config, clock: Clock) -> None:
    """Sample and score the answers to some prompts, and write them down."""
    scored = await sample(parts.answers, parts.answers, prompts, config.rollout.group_size, clock)
    check_verdicts([group for group in scored if group.prompt.verifier], config.verification.max_invalid_rate)
    rounds.keep(path, *parts.answers.candidates(scored))


def choose(
    parts: Parts, files: RoundFiles, chunks: Sequence[Path], config: Config, stage: PreferenceStage
) -> tuple[dict[str, Any], int]:
    """The pairs of all chunks; their statistics, and the number of those for validation."""
    asked = stage.selection
    selection = Selection(
        rule=asked.rule,
        max_tokens=asked.max_tokens,
        seed=config.run.seed,
        margin=asked.margin,
        chosen_from=tuple(asked.chosen_from),
        rejected_from=tuple(asked.rejected_from),
        similarity=asked.similarity,
        order=tuple(asked.order),
    )
    function = partial(rounds.choose, selection, files.number)
    summaries = parts.mapper.each("pair selection", [{"chunk": str(chunk.absolute())} for chunk in chunks], function)
    statistics, held_out = rounds.gather(
        files, summaries, held_out=asked.held_out, per_language_pair=asked.per_language_pair, seed=config.run.seed
    )
    return statistics.report(), held_out


def check_pairs(summary: Mapping[str, Any], files: RoundFiles, stage: PreferenceStage) -> None:
    """Raises RunError for a round that does not fill a step."""
    if summary["pairs"] < stage.pairs_per_step:
        dropped = ", ".join(f"{count} {reason}" for reason, count in summary["statistics"]["dropped"].items()) or "nothing"
        raise RunError(
            f"round {files.number} made {summary['pairs']} pairs of {summary['prompts']} prompts, fewer than the "
            f"{stage.pairs_per_step} of a step; dropped: {dropped}; see {files.rejects}"
        )


async def prepared(parts: Parts, path: Path, config: Config, stage: PreferenceStage) -> Prepared:
    """The pairs of a file, with the reference's log-probabilities, computed or found."""
    pairs = list(read_pairs(path))
    if parts.reference is None:
        return Prepared(pairs, None)
    sides: list[Sides] = []
    for begin in range(0, len(pairs), stage.pairs_per_step):
        some = pairs[begin : begin + stage.pairs_per_step]
        found = parts.cache.find(some)
        if found is None:
            batches = pair_batches(some, ranks=parts.reference.workers, budget=config.policy.tokens_per_micro_batch)
            found = by_pair(await parts.reference.annotate(batches), len(some))
            parts.cache.keep(some, found)
        sides += found
    return Prepared(pairs, sides)


async def update(parts: Parts, step_pairs: Prepared, config: Config, stage: PreferenceStage, step: int) -> StepResult:
    """One optimizer step. Raises RunError when the loss is not a number."""
    batches = batched(parts, step_pairs, config)
    if stage.loss == "kto":
        batches = await anchored(parts, batches, step_pairs.pairs, config)
    result = await parts.learner.update(batches, step)
    if math.isnan(result.loss):
        raise RunError("the loss is not a number; the last checkpoint is unharmed")
    return result


async def anchored(parts: Parts, batches: list[Batch], pairs: Sequence[Pair], config: Config) -> list[Batch]:
    """With the divergence of the policy on answers to other prompts, from which kto counts gains and losses."""
    assert parts.reference is not None
    budget = config.policy.tokens_per_micro_batch
    others = mismatched(pairs, ranks=parts.learner.workers, budget=budget)
    divergence = await parts.learner.divergence(await parts.reference.annotate(others))
    return [dataclasses.replace(batch, divergence=divergence) for batch in batches]


async def validate(parts: Parts, held_out: Prepared, journal: PreferenceJournal, config: Config, number: int, done: int) -> None:
    """Loss, accuracy and margins on the held-out pairs of the first round, as one row after so many steps."""
    if held_out.pairs:
        metrics = await parts.learner.evaluate(batched(parts, held_out, config))
        journal.validation(done, {"round": number, **metrics})


def batched(parts: Parts, pairs: Prepared, config: Config) -> list[Batch]:
    """One batch a rank."""
    budget = config.policy.tokens_per_micro_batch
    return pair_batches(pairs.pairs, ranks=parts.learner.workers, budget=budget, reference=pairs.reference)


def figures(result: StepResult, seconds: Mapping[str, float]) -> dict[str, float]:
    """The metrics of a step by their public names."""
    return {
        "loss": result.loss,
        "grad_norm": result.grad_norm,
        "learning_rate": result.learning_rate,
        "tokens": result.tokens,
        **result.metrics,
        **{f"time/{phase}": value for phase, value in seconds.items()},
    }
