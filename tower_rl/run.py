"""Run a configuration: `python -m tower_rl.run CONFIG [key.path=value ...] [--plan] [--resume] [--fresh]`.

Exit codes: 0 done; 1 the run stopped with an error; 2 the request cannot be carried out (configuration, run folder, data,
model); 130 interrupted. This is the composition root: it alone knows actors and clusters, and imports what takes seconds
(torch, Ray, verl) only once the configuration is known to be good.
"""

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tower_rl.config.load import ConfigError, load

if TYPE_CHECKING:
    from actors.supervised import Streaming
    from tower_rl.config.schema import Config, CptStage, RlvrStage, SftStage
    from tower_rl.data.corpus.readers.part import Part
    from tower_rl.data.stream import PromptStream
    from tower_rl.reporting.progress import Progress
    from tower_rl.runfolder import RunFolder, StageFolder
    from tower_rl.stages.rlvr import Parts

EPILOGUE = """\
overrides: any key of the configuration, e.g.  rollout.group_size=16  stages.0.steps=50  'data.weights={de: 2, fr: 1}'
keys and their meaning: docs/config.md
"""
PROBE = "Translate to German: The quick brown fox jumps over 13 lazy dogs."


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, check the configuration, run it; answers the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        config = load(options.config, options.overrides)
    except (ConfigError, ImportError) as error:  # the second: a plug-in whose name clashes or that cannot be read
        return _refuse(error)
    if options.plan:
        from clusters.plan import describe

        print(describe(config))
        return 0
    return _run(config, resume=options.resume, fresh=options.fresh)


def _run(config: "Config", *, resume: bool, fresh: bool) -> int:
    from tower_rl.config.dump import dump
    from tower_rl.config.schema import RlvrStage
    from tower_rl.reporting.progress import Progress
    from tower_rl.runfolder import Mode, RunFolder, RunFolderError

    try:
        folder = RunFolder.create(config, dump(config), Mode.RESUME if resume else Mode.FRESH if fresh else Mode.NEW)
    except RunFolderError as error:
        return _refuse(error)
    from tower_rl.checkpoint import CheckpointError
    from tower_rl.data.rows import DataError
    from tower_rl.models.errors import ModelError
    from tower_rl.protocols import RunError
    from tower_rl.reporting.html import write_report
    from verifiers.registry import BrokenPlugin, WrongOption

    try:
        with folder:
            for index in range(len(config.stages)):
                stage = config.stages[index]
                if isinstance(stage, RlvrStage):
                    _rlvr(config, stage, index, folder, Progress())
                else:
                    _supervised(config, stage, index, folder, Progress())
            folder.finish()
        return 0
    except (DataError, ModelError, CheckpointError, WrongOption, BrokenPlugin) as error:
        return _refuse(error)
    except RunError as error:
        print(f"the run stopped: {error}\nwhat it made is in {folder.path}; go on with --resume", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"interrupted; go on with --resume (run folder {folder.path})", file=sys.stderr)
        return 130
    finally:
        write_report(folder.path)


def _supervised(config: "Config", stage: "CptStage | SftStage", index: int, folder: "RunFolder", progress: "Progress") -> None:
    """Start Ray, prepare the corpora, run the stage on Ray Train."""
    from actors.supervised import Settings, fit
    from clusters.connect import connect
    from clusters.placement import gpus_for_ranks
    from tower_rl.data.corpus import recipe
    from tower_rl.models.load import SUPERVISED_FAMILIES, load_tokenizer, local_folder
    from tower_rl.reporting.follow import following
    from tower_rl.reporting.metrics import read

    policy, stage_folder = config.policy, folder.stage(index, stage.name)
    size = f"{stage.tokens_per_step} tokens in packs of {stage.sequence_length}"
    facts = {
        "model": config.model.path,
        "steps": f"{stage.steps} of {size}",
        "corpora": ", ".join(config.data.corpora),
        "folder": str(folder.path),
    }
    progress.header(f"{config.run.name} / {stage.name}", facts)
    model = local_folder(config.model, SUPERVISED_FAMILIES)
    load_tokenizer(model)
    parts = recipe.parts(config.data)
    progress.note("starting Ray and preparing the corpora ...")
    with connect(config.cluster, policy.workers + 1) as dashboard:
        if dashboard:
            progress.note(f"Ray dashboard: http://{dashboard}")
        gpus = gpus_for_ranks(policy.workers)
        packs, rows = _texts(config, stage, parts, model, stage_folder, progress)
        threads = max(1, len(os.sched_getaffinity(0)) // policy.workers)
        settings = Settings(
            model, config.model.dtype, policy, stage, config.run.seed, packs, stage_folder, folder.attempt, folder.logs, threads
        )
        with (
            following(stage_folder.metrics, lambda row: progress.supervised_step(row, stage.steps)),
            following(stage_folder.validation, progress.validation),
        ):
            fit(settings, gpus=gpus, start_timeout_s=config.cluster.placement_timeout_s, rows=rows)
    folder.record_checkpoints()
    places = _places(folder, stage_folder, stage.steps, {"what was dropped": stage_folder.data / "dropped.jsonl"})
    progress.supervised_summary(read(stage_folder.metrics), read(stage_folder.validation), places)


def _texts(
    config: "Config",
    stage: "CptStage | SftStage",
    parts: "Sequence[Part[Any]]",
    model: Path,
    folder: "StageFolder",
    progress: "Progress",
) -> tuple["Path | Streaming", Any]:
    """The folder of packs and None, or what the ranks need to know of a stream, and that stream."""
    from actors.corpora import prepared
    from actors.streams import streamed
    from actors.supervised import Streaming

    if stage.feed == "streaming":
        most = {name: corpus.max_rejects for name, corpus in config.data.corpora.items()}
        return Streaming(config.data.stall_timeout_s, most), streamed(config, stage, parts, model, folder.data)
    packs = prepared(config, stage, parts, model, folder.data)
    progress.corpora(json.loads((folder.data / "index.json").read_text(encoding="utf-8")))
    return packs, None


def _rlvr(config: "Config", stage: "RlvrStage", index: int, folder: "RunFolder", progress: "Progress") -> None:
    """Prepare model and prompts, start Ray and the actors, run the stage."""
    from clusters.build import Place, parts
    from clusters.connect import connect
    from clusters.placement import available_gpus, slots
    from tower_rl.data.chat import render
    from tower_rl.data.stream import PromptStream
    from tower_rl.models.load import load_tokenizer, local_folder

    _header(config, stage, folder, progress)
    model = local_folder(config.model)
    tokenizer = load_tokenizer(model)
    panel = config.evaluation.prompts
    stream = PromptStream(config.data, config.run.seed, tokenizer, held_out=panel, rejects=folder.path / "rejects.jsonl")
    _check_verifiers(config, stream)
    progress.note("prompts: " + ", ".join(f"{name} {size}" for name, size in stream.sizes.items()) + _rejected(stream))
    probe = render(tokenizer, [{"role": "user", "content": PROBE}])[: config.data.max_prompt_tokens]
    place = Place(model, folder.logs, folder.verdicts, folder.attempt, probe)

    async def whole() -> None:
        places = slots(config, available_gpus())
        async with parts(config, stage, places, place) as made:
            await _train(made, stream, config, stage, folder.stage(index, stage.name), folder, progress)

    progress.note("starting Ray, the rollout engine, the trainer and the verifiers ...")
    with connect(config.cluster, len(slots(config, 0))) as dashboard:
        if dashboard:
            progress.note(f"Ray dashboard: http://{dashboard}")
        asyncio.run(whole())


async def _train(
    parts: "Parts",
    stream: "PromptStream",
    config: "Config",
    stage: "RlvrStage",
    stage_folder: "StageFolder",
    folder: "RunFolder",
    progress: "Progress",
) -> None:
    from tower_rl.reporting.metrics import read
    from tower_rl.reporting.panel import read_panel
    from tower_rl.stages.journal import Journal
    from tower_rl.stages.rlvr import train_synchronously

    journal = Journal(folder, stage_folder, stage.name, stage.steps, stage.keep_last, progress)
    if not stage_folder.panel_before.exists():
        await _panel(parts, stream, config, stage_folder.panel_before, progress)
    await train_synchronously(parts, stream, journal, config, stage)
    await _panel(parts, stream, config, stage_folder.panel_after, progress)
    progress.summary(
        read(stage_folder.metrics),
        read_panel(stage_folder.panel_before),
        read_panel(stage_folder.panel_after),
        _places(folder, stage_folder, stage.steps, {"rollouts": stage_folder.path / "rollouts"}),
    )


def _places(folder: "RunFolder", stage_folder: "StageFolder", steps: int, own: Mapping[str, Path]) -> dict[str, str]:
    """What a stage left and where, its own things in between, for the last lines on the screen."""
    model = stage_folder.path / "checkpoints" / f"step-{steps}" / "hf"
    places = {"report": folder.path / "report.html", "metrics": stage_folder.metrics, **own, "model": model, "logs": folder.logs}
    return {name: str(path) for name, path in places.items()}


async def _panel(parts: "Parts", stream: "PromptStream", config: "Config", path: Path, progress: "Progress") -> None:
    """Sample and score the held-out prompts."""
    from tower_rl.reporting.panel import write_panel
    from tower_rl.stages.clock import Clock
    from tower_rl.stages.rlvr import check_verdicts, sample

    prompts = stream.held_out()
    if prompts:
        progress.note(f"held-out panel: {len(prompts)} prompts x {config.evaluation.samples} samples")
        scored = await sample(parts, prompts, config.evaluation.samples, Clock())
        write_panel(path, scored)
        check_verdicts(scored, config.verification.max_invalid_rate)


def _header(config: "Config", stage: "RlvrStage", folder: "RunFolder", progress: "Progress") -> None:
    rollout = config.rollout
    size = f"{rollout.prompts_per_step} prompts x {rollout.group_size} samples, up to {rollout.max_new_tokens} tokens each"
    facts = {
        "model": config.model.path,
        "steps": f"{stage.steps} of {size}",
        "verifiers": ", ".join(config.verifiers),
        "folder": str(folder.path),
    }
    progress.header(f"{config.run.name} / {stage.name}", facts)


def _check_verifiers(config: "Config", stream: "PromptStream") -> None:
    """Refuse now what would otherwise stop the run in its first step: names that rows invented, options that nobody knows."""
    from tower_rl.config.schema import LeafVerifier
    from tower_rl.data.rows import DataError
    from verifiers.registry import check_options

    if unknown := sorted(stream.verifiers - config.verifiers.keys()):
        raise DataError(f"rows ask for verifiers {', '.join(unknown)}; the configuration has {', '.join(config.verifiers)}")
    for entry in config.verifiers.values():
        if isinstance(entry, LeafVerifier):
            check_options(entry.use, entry.options)


def _rejected(stream: "PromptStream") -> str:
    return "".join(f"; {count} rejected ({reason})" for reason, count in stream.rejected.items())


def _refuse(error: Exception) -> int:
    print(error, file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tower_rl.run",
        description="Train a model as a configuration says.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, e.g. configs/demo.yaml")
    parser.add_argument("overrides", metavar="key.path=value", nargs="*", help="values that replace those of the file")
    parser.add_argument("--plan", action="store_true", help="print what would be placed where, and stop")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of run.dir")
    existing.add_argument("--fresh", action="store_true", help="remove what an earlier run left in run.dir")
    return parser


if __name__ == "__main__":
    sys.exit(main())
