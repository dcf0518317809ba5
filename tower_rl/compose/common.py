"""What stages that sample are put together from, and where a stage leaves things."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

from clusters.build import Place
from clusters.pace import cpu_rate, stage_seconds
from tower_rl.config.job import in_ray_job
from tower_rl.config.schema import Config, LeafVerifier, Stage
from tower_rl.data.chat import render
from tower_rl.data.rows import DataError
from tower_rl.data.stream import PromptStream
from tower_rl.models.load import load_tokenizer, local_folder
from tower_rl.protocols import Generator, VerifierPool
from tower_rl.reporting.panel import write_panel
from tower_rl.reporting.progress import Progress
from tower_rl.reporting.text import span
from tower_rl.runfolder import RunFolder, StageFolder
from tower_rl.stages.clock import Clock
from tower_rl.stages.sampling import check_verdicts, sample
from verifiers.registry import check_options

PROBE = "Translate to German: The quick brown fox jumps over 13 lazy dogs."


@dataclass(frozen=True, slots=True)
class Prompted:
    """What is known before Ray starts."""

    tokenizer: PreTrainedTokenizerBase
    stream: PromptStream
    place: Place


def prompted(config: Config, folder: RunFolder, progress: Progress) -> Prompted:
    """Find the model and read the prompts.

    Raises:
        DataError: prompts cannot be read, or ask for verifiers that the configuration lacks.
        ModelError: the model cannot be used.
    """
    model = local_folder(config.model)
    tokenizer = load_tokenizer(model)
    panel = config.evaluation.prompts
    stream = PromptStream(config.data, config.run.seed, tokenizer, held_out=panel, rejects=folder.path / "rejects.jsonl")
    _check_verifiers(config, stream)
    sizes = ", ".join(f"{name} {size}" for name, size in stream.sizes.items())
    rejected = "".join(f"; {count} rejected ({reason})" for reason, count in stream.rejected.items())
    progress.note(f"prompts: {sizes}{rejected}")
    probe = render(tokenizer, [{"role": "user", "content": PROBE}])[: config.data.max_prompt_tokens]
    return Prompted(tokenizer, stream, Place(model, folder.logs, folder.verdicts, folder.attempt, probe))


async def panel(
    generator: Generator, verifiers: VerifierPool, stream: PromptStream, config: Config, path: Path, progress: Progress
) -> None:
    """Sample and score the held-out prompts, if there are any."""
    prompts = stream.held_out()
    if prompts:
        progress.note(f"held-out panel: {len(prompts)} prompts x {config.evaluation.samples} samples")
        scored = await sample(generator, verifiers, prompts, config.evaluation.samples, Clock())
        write_panel(path, scored)
        check_verdicts(scored, config.verification.max_invalid_rate)


def expected(config: Config, stage: Stage) -> dict[str, str]:
    """Say how long a stage takes here, for its header; nothing where that is not known: on GPUs, and on clusters."""
    if config.cluster.address != "local" or in_ray_job() or torch.cuda.is_available():
        return {}
    seconds = stage_seconds(config, stage, cpu_rate(config.model.dtype))
    return {} if seconds is None else {"time": f"about {span(seconds)} on this machine"}


def places(folder: RunFolder, stage_folder: StageFolder, steps: int, own: Mapping[str, Path]) -> dict[str, str]:
    """What a stage left and where, its own things in between, for the last lines on the screen."""
    model = stage_folder.path / "checkpoints" / f"step-{steps}" / "hf"
    left = {"report": folder.path / "report.html", "metrics": stage_folder.metrics, **own, "model": model, "logs": folder.logs}
    return {name: str(path) for name, path in left.items()}


def _check_verifiers(config: Config, stream: PromptStream) -> None:
    """Refuse now what would otherwise stop the run in its first step: names that rows invented, options that nobody knows."""
    if unknown := sorted(stream.verifiers - config.verifiers.keys()):
        raise DataError(f"rows ask for verifiers {', '.join(unknown)}; the configuration has {', '.join(config.verifiers)}")
    for entry in config.verifiers.values():
        if isinstance(entry, LeafVerifier):
            check_options(entry.use, entry.options)
