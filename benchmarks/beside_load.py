"""What a step takes beside others: `python benchmarks/beside_load.py [CONFIG [STEPS [KEY=VALUE ...]]]`.

One run, in which as many busy loops as there are cores compute beside every second step; medians by phase without and with
them, and the ratio. The learning rate is so small that all steps sample responses of the same length. The first two steps,
which pay for memory that is touched for the first time, do not count.
"""

import multiprocessing
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tower_rl.reporting.metrics import read

PHASES = ("generate", "reference", "train", "sync", "step")
FIRST = 2


def spin() -> None:
    """Compute for ever."""
    while True:
        pass


def main(config: str = "configs/demo.yaml", steps: str = "10", *keys: str) -> None:
    """Run and report."""
    loops: list[multiprocessing.Process] = []
    with tempfile.TemporaryDirectory() as folder:
        ours = [f"run.dir={folder}/run", f"stages.0.steps={steps}", f"stages.0.save_every={steps}", "evaluation.prompts=0"]
        command = [sys.executable, "-m", "tower_rl.run", config, *ours, "policy.learning_rate=1.0e-12", *keys]
        process = subprocess.Popen(command)
        metrics = Path(folder) / "run" / "stages" / "0-rlvr" / "metrics.jsonl"
        while process.poll() is None:
            done = len(read(metrics))
            wanted = len(os.sched_getaffinity(0)) if done >= FIRST and done % 2 else 0
            while len(loops) < wanted:
                loops.append(multiprocessing.Process(target=spin, daemon=True))
                loops[-1].start()
            while len(loops) > wanted:
                loops.pop().kill()
            time.sleep(0.05)
        for loop in loops:
            loop.kill()
        rows = read(metrics)[FIRST:]
    print(f"\n{'phase':<12}{'alone s':>10}{'beside s':>10}{'ratio':>8}")
    for phase in PHASES:
        alone, beside = (statistics.median(row[f"time/{phase}"] for row in part) for part in (rows[0::2], rows[1::2]))
        print(f"{phase:<12}{alone:>10.2f}{beside:>10.2f}{beside / alone:>8.2f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
