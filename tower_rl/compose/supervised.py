"""Puts together a stage of continued pretraining or supervised fine-tuning, and runs it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from actors.corpora import prepared
from actors.streams import streamed
from actors.supervised import Settings, Streaming, fit
from clusters.connect import connect
from clusters.placement import gpus_for_ranks
from tower_rl.compose.common import expected, places
from tower_rl.config.schema import Config
from tower_rl.config.stages import CptStage, SftStage
from tower_rl.data.corpus import recipe
from tower_rl.data.corpus.readers.part import Part
from tower_rl.models.load import SUPERVISED_FAMILIES, load_tokenizer, local_folder
from tower_rl.reporting.follow import following
from tower_rl.reporting.html import write_report
from tower_rl.reporting.metrics import Row, read
from tower_rl.reporting.progress import Progress
from tower_rl.runfolder import RunFolder, StageFolder


def run(config: Config, stage: CptStage | SftStage, index: int, folder: RunFolder, progress: Progress) -> None:
    """Start Ray, prepare the corpora, run the stage on Ray Train."""
    policy, stage_folder = config.policy, folder.stage(index, stage.name)
    size = f"{stage.tokens_per_step} tokens in packs of {stage.sequence_length}"
    facts = {
        "model": config.model.path,
        "dtype": folder.precision,
        "steps": f"{stage.steps} of {size}",
        **expected(config, stage),
        "corpora": ", ".join(config.data.corpora),
        "folder": str(folder.path),
    }
    progress.header(f"{config.run.name} / {stage.name}", facts)
    model = local_folder(config.model, SUPERVISED_FAMILIES)
    load_tokenizer(model)
    parts = recipe.parts(config.data)
    progress.note("starting Ray and preparing the corpora ...")

    def show(row: Row) -> None:
        progress.supervised_step(row, stage.steps)
        if row["step"] % stage.save_every == 0:  # the first one of each attempt, too
            write_report(folder.path)

    with connect(config.cluster, policy.workers + 1) as dashboard:
        if dashboard:
            progress.note(f"Ray dashboard: http://{dashboard}")
        gpus = gpus_for_ranks(config)
        packs, rows = _texts(config, stage, parts, model, stage_folder, progress)
        threads = max(1, len(os.sched_getaffinity(0)) // policy.workers)
        settings = Settings(
            model, config.model.dtype, policy, stage, config.run.seed, packs, stage_folder, folder.attempt, folder.logs, threads
        )
        with (
            following(stage_folder.metrics, show),
            following(stage_folder.validation, progress.validation),
        ):
            fit(settings, gpus=gpus, start_timeout_s=config.cluster.placement_timeout_s, tell=progress.warning, rows=rows)
    folder.record_checkpoints()
    left = places(folder, stage_folder, stage.steps, {"what was dropped": stage_folder.data / "dropped.jsonl"})
    progress.supervised_summary(read(stage_folder.metrics), read(stage_folder.validation), left)


def _texts(
    config: Config,
    stage: CptStage | SftStage,
    parts: Sequence[Part[Any]],
    model: Path,
    folder: StageFolder,
    progress: Progress,
) -> tuple[Path | Streaming, Any]:
    """The folder of packs and None, or what the ranks need to know of a stream, and that stream."""
    if stage.feed == "streaming":
        most = {name: corpus.max_rejects for name, corpus in config.data.corpora.items()}
        return Streaming(config.data.stall_timeout_s, most), streamed(config, stage, parts, model, folder.data)
    packs = prepared(config, stage, parts, model, folder.data)
    progress.corpora(json.loads((folder.data / "index.json").read_text(encoding="utf-8")))
    return packs, None
