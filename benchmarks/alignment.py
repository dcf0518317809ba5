"""WPO, DPO or no preference stage: `python benchmarks/alignment.py PARALLEL_FOLDER SFT_CHECKPOINT OUTPUT [SEEDS]`.

From one supervised checkpoint, configs/wpo_smollm.yaml with and without weights, a run each seed (the samples differ, too); then
greedy translations of 200 segments of a package that nobody was trained on. A run that is finished in OUTPUT is taken as it is.

Corpus chrF, mean similarity, share of answers that keep all rules, and length as a share of the human translation's, with 95%
intervals of differences: segments and seeds are resampled together.
"""

import random
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from translation import RESAMPLES, Segment, chrf, interval, segments, translate

from tower_rl import checkpoint
from tower_rl.data.catalogue import PROMPT
from tower_rl.data.languages import LANGUAGE_NAMES
from verifiers.registry import load
from verifiers.types import Task

LOSSES = {"dpo": ["stages.0.weighting=null"], "wpo": []}
BATCH = 20


def trained(sft: Path, output: Path, loss: str, seed: int) -> Path:
    """The last checkpoint of a run."""
    folder = output / f"{loss}-{seed}"
    stage = folder / "stages" / "0-wpo"
    if not (
        checkpoint.latest(stage) and (folder / "report.html").exists() and "finished" in (folder / "manifest.json").read_text()
    ):
        overrides = [f"model.path={sft}", f"run.dir={folder}", f"run.seed={seed}", "evaluation.prompts=0", *LOSSES[loss]]
        command = [sys.executable, "-m", "tower_rl.run", "configs/wpo_smollm.yaml", *overrides, "--fresh"]
        subprocess.run(command, check=True, timeout=3 * 3600)
    found = checkpoint.latest(stage)
    assert found is not None
    return found / "hf"


def answers(folder: Path, asked: Sequence[Segment]) -> list[str]:
    """Greedy translations of the segments, in the prompt that the stage trains on."""
    tokenizer = AutoTokenizer.from_pretrained(folder, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16)
    parts = [asked[start : start + BATCH] for start in range(0, len(asked), BATCH)]
    return [text.strip() for part in parts for text in translate(model, tokenizer, part, PROMPT)]


def measures(asked: Sequence[Segment]) -> dict[str, Callable[[Sequence[str], Sequence[int]], float]]:
    """Figures of some of the segments' answers, by name."""
    rules, similarity = load("translation_rules"), load("similarity")
    references = [reference for _, _, reference in asked]

    def tasks(texts: Sequence[str]) -> list[Task]:
        return [
            Task(PROMPT.format(language=LANGUAGE_NAMES[language], text=source), text, reference,
                 {"source_lang": "en", "target_lang": language, "source": source})
            for (language, source, reference), text in zip(asked, texts, strict=True)
        ]  # fmt: skip

    kept: dict[tuple[str, ...], tuple[list[float], list[float]]] = {}

    def judged(texts: Sequence[str]) -> tuple[list[float], list[float]]:
        key = tuple(texts)
        if key not in kept:
            passed = [float(bool(verdict.passed)) for verdict in rules.verify(tasks(texts))]
            kept[key] = passed, [verdict.score or 0.0 for verdict in similarity.verify(tasks(texts))]
        return kept[key]

    def some(values: Sequence[float], places: Sequence[int]) -> float:
        return sum(values[place] for place in places) / len(places)

    def length(texts: Sequence[str], places: Sequence[int]) -> float:
        return sum(len(texts[place]) for place in places) / sum(len(references[place]) for place in places)

    return {
        "chrF": lambda texts, places: chrf([texts[p] for p in places], [references[p] for p in places]),
        "similarity, %": lambda texts, places: 100 * some(judged(texts)[1], places),
        "rules kept, %": lambda texts, places: 100 * some(judged(texts)[0], places),
        "length, %": lambda texts, places: 100 * length(texts, places),
    }


def main(parallel: Path, sft: Path, output: Path, seeds: int) -> None:
    """Print the comparison."""
    asked = segments(parallel)
    models = {
        "no preference stage": [sft],
        **{loss: [trained(sft, output, loss, seed) for seed in range(seeds)] for loss in LOSSES},
    }
    texts = {name: [answers(folder, asked) for folder in folders] for name, folders in models.items()}
    everything = range(len(asked))
    for measure, figure in measures(asked).items():
        rng = random.Random(0)
        print(f"\n{measure}")
        each = {name: [figure(own, everything) for own in runs] for name, runs in texts.items()}
        for name, values in each.items():
            print(f"  {name:<20} {', '.join(f'{value:.1f}' for value in values)}")
        for one, other in (("dpo", "no preference stage"), ("wpo", "no preference stage"), ("wpo", "dpo")):
            differences = []
            for _ in range(RESAMPLES):
                places = rng.choices(everything, k=len(asked))
                differences.append(figure(rng.choice(texts[one]), places) - figure(rng.choice(texts[other]), places))
            means = [sum(each[name]) / len(each[name]) for name in (one, other)]
            print(f"  {one} less {other}: {means[0] - means[1]:+.1f}, 95% interval {interval(differences)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]) if len(sys.argv) > 4 else 3)
