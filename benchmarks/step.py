"""Where a step's seconds go: `python benchmarks/step.py [CONFIG [STEPS [KEY=VALUE ...]]]` prints medians by phase of some steps.

The first step pays for memory that is touched for the first time and is shown apart. Keys replace those of the
configuration: with rollout.engines=2 or policy.workers=2 the same work is done by two engines or two ranks, and with
stages.0.asynchronous.staleness=1 the next step is sampled meanwhile (`sampling/generate` in its rows).
"""

import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from tower_rl.reporting.metrics import read

PHASES = ("generate", "verify", "wait", "old_logprobs", "reference", "train", "sync", "step")


def main(config: str = "configs/demo.yaml", steps: str = "6", *keys: str) -> None:
    """Run and report."""
    with tempfile.TemporaryDirectory() as folder:
        ours = [f"run.dir={folder}/run", f"stages.0.steps={steps}", f"stages.0.save_every={steps}", "evaluation.prompts=0"]
        subprocess.run([sys.executable, "-m", "tower_rl.run", config, *ours, *keys], check=True, timeout=3600)
        (metrics,) = Path(folder).glob("run/stages/*/metrics.jsonl")
        rows = [{key.replace("sampling/", "time/"): value for key, value in row.items()} for row in read(metrics)]
    print(f"\n{'phase':<12}{'first s':>10}{'median s':>10}{'share':>8}")
    whole = statistics.median(row["time/step"] for row in rows[1:])
    for phase in PHASES:
        values = [row.get(f"time/{phase}", 0.0) for row in rows]
        median = statistics.median(values[1:])
        print(f"{phase:<12}{values[0]:>10.2f}{median:>10.2f}{median / whole:>8.0%}")
    for name, tokens, phase in (("generated", "tokens_generated", "generate"), ("trained", "tokens", "train")):
        rate = statistics.median(row[tokens] / row[f"time/{phase}"] for row in rows[1:])
        print(f"{name}: {statistics.median(row[tokens] for row in rows[1:]):.0f} tokens a step, {rate:.0f} tokens/s")


if __name__ == "__main__":
    main(*sys.argv[1:])
