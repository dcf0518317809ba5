"""Puts together a stage of preference optimization, and runs it."""

import asyncio

from clusters.build import Asked, preference_parts
from clusters.connect import connect
from clusters.placement import cluster_slots, slots
from tower_rl.compose.common import panel, places, prompted
from tower_rl.config.schema import Config
from tower_rl.config.stages import PreferenceStage
from tower_rl.data.stream import PromptStream
from tower_rl.reporting.metrics import read
from tower_rl.reporting.progress import Progress
from tower_rl.runfolder import RunFolder, StageFolder
from tower_rl.stages.journal import PreferenceJournal
from tower_rl.stages.preference import Parts, train_preferences
from tower_rl.stopping import listening


def run(config: Config, stage: PreferenceStage, index: int, folder: RunFolder, progress: Progress) -> None:
    """Prepare model and prompts, start Ray and the actors, run the stage."""
    _header(config, stage, folder, progress)
    asked = prompted(config, folder, progress)
    answers = asked.stream.answers if stage.answers != "sampled" else {}

    async def whole() -> None:
        placed = cluster_slots(config)
        async with preference_parts(config, stage, placed, asked.place, Asked(asked.tokenizer, answers)) as made:
            await _train(made, asked.stream, config, stage, folder.stage(index, stage.name), folder, progress)

    progress.note("starting Ray and the actors ...")
    with connect(config.cluster, len(slots(config, 0)) + 1) as dashboard:  # one more for Ray Data
        if dashboard:
            progress.note(f"Ray dashboard: http://{dashboard}")
        asyncio.run(whole())


async def _train(
    parts: Parts,
    stream: PromptStream,
    config: Config,
    stage: PreferenceStage,
    stage_folder: StageFolder,
    folder: RunFolder,
    progress: Progress,
) -> None:
    journal = PreferenceJournal(folder, stage_folder, stage.name, stage.steps, stage.keep_last, progress)
    engines, verifiers = parts.answers.generator, parts.answers.verifiers
    if engines is not None and not stage_folder.panel_before.exists():
        await panel(engines, verifiers, stream, config, stage_folder.panel_before, progress)
    with listening(journal.stop):
        await train_preferences(parts, stream, journal, config, stage)
    if engines is not None:
        await panel(engines, verifiers, stream, config, stage_folder.panel_after, progress)
    progress.preference_summary(
        read(stage_folder.metrics),
        read(stage_folder.validation),
        read(stage_folder.rounds),
        places(folder, stage_folder, stage.steps, {"pairs": stage_folder.pairs}),
    )


def _header(config: Config, stage: PreferenceStage, folder: RunFolder, progress: Progress) -> None:
    rounds = "a round" if stage.rounds == 1 else f"{stage.rounds} rounds"
    facts = {
        "model": config.model.path,
        "dtype": folder.precision,
        "steps": f"{stage.steps} of {stage.pairs_per_step} pairs",
        "pairs": f"{rounds} of {stage.prompts_per_round} prompts, {stage.answers} answers, rule {stage.selection.rule}",
        "loss": f"{stage.loss}, beta {stage.beta:g}" + (f", weighted ({stage.weighting.alignment})" if stage.weighting else ""),
        "verifiers": ", ".join(config.verifiers) or "none",
        "folder": str(folder.path),
    }
    progress.header(f"{config.run.name} / {stage.name}", facts)
