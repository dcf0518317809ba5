"""Puts together a stage of reinforcement learning, and runs it."""

import asyncio
from dataclasses import replace

from clusters.build import rlvr_parts
from clusters.connect import connect
from clusters.placement import cluster_slots, slots
from tower_rl.compose.common import expected, panel, places, prompted
from tower_rl.config.schema import Config
from tower_rl.config.stages import RlvrStage
from tower_rl.data.stream import PromptStream
from tower_rl.overlong import penalising
from tower_rl.reporting.metrics import read
from tower_rl.reporting.panel import read_panel
from tower_rl.reporting.progress import Progress
from tower_rl.runfolder import RunFolder, StageFolder
from tower_rl.stages.journal import RlvrJournal
from tower_rl.stages.rlvr import Parts, train_asynchronously, train_synchronously
from tower_rl.stopping import listening


def run(config: Config, stage: RlvrStage, index: int, folder: RunFolder, progress: Progress) -> None:
    """Prepare model and prompts, start Ray and the actors, run the stage."""
    _header(config, stage, folder, progress)
    asked = prompted(config, folder, progress)

    async def whole() -> None:
        placed = cluster_slots(config)
        async with rlvr_parts(config, stage, placed, asked.place) as made:
            await _train(made, asked.stream, config, stage, folder.stage(index, stage.name), folder, progress)

    progress.note("starting Ray, the rollout engine, the trainer and the verifiers ...")
    with connect(config.cluster, len(slots(config, 0))) as dashboard:
        if dashboard:
            progress.note(f"Ray dashboard: http://{dashboard}")
        asyncio.run(whole())


async def _train(
    parts: Parts,
    stream: PromptStream,
    config: Config,
    stage: RlvrStage,
    stage_folder: StageFolder,
    folder: RunFolder,
    progress: Progress,
) -> None:
    journal = RlvrJournal(folder, stage_folder, stage.name, stage.steps, stage.keep_last, progress)
    if not stage_folder.panel_before.exists():
        await panel(parts.generator, parts.verifiers, stream, config, stage_folder.panel_before, progress)
    parts = replace(parts, verifiers=penalising(parts.verifiers, stage.overlong, config.rollout.max_new_tokens))
    with listening(journal.stop):
        if stage.asynchronous is None:
            await train_synchronously(parts, stream, journal, config, stage)
        else:
            await train_asynchronously(parts, stream, journal, config, stage, stage.asynchronous.staleness)
    await panel(parts.generator, parts.verifiers, stream, config, stage_folder.panel_after, progress)
    progress.summary(
        read(stage_folder.metrics),
        read_panel(stage_folder.panel_before),
        read_panel(stage_folder.panel_after),
        places(folder, stage_folder, stage.steps, {"rollouts": stage_folder.path / "rollouts"}),
    )


def _header(config: Config, stage: RlvrStage, folder: RunFolder, progress: Progress) -> None:
    rollout = config.rollout
    size = f"{rollout.prompts_per_step} prompts x {rollout.group_size} samples, up to {rollout.max_new_tokens} tokens each"
    facts = {
        "model": config.model.path,
        "dtype": folder.precision,
        "steps": f"{stage.steps} of {size}",
        **expected(config, stage),
        "verifiers": ", ".join(config.verifiers),
        "folder": str(folder.path),
    }
    progress.header(f"{config.run.name} / {stage.name}", facts)
