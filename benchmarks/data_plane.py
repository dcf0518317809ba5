"""What the driver does with the rollouts of a step: `python benchmarks/data_plane.py [GROUPS ...]`.

Made-up groups of 16 rollouts of 8,192 tokens go through advantages, the file of rollouts, batching and the figures of the step's
row, as in a step whose model is elsewhere. `tokens` are advantages by token (reinforce_plus_plus), beside those by group (grpo).
A size runs in a process of its own, since the peak of memory is a process's. Seconds are the processor's. `held` is memory with
the rollouts alone, `peak` the most while the rest is done. The last line is the exponent of seconds in groups: 1 is linear.
"""

import json
import math
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

SAMPLES, TOKENS, PROMPT_TOKENS = 16, 8192, 512
RANKS, BUDGET = 8, 16_384
SIZES = (1, 8, 64, 512)
PARTS = ("tokens", "advantage", "write", "assemble", "figures")


def made(count: int) -> list[Any]:
    """Scored groups of random tokens."""
    import numpy as np

    from tower_rl.types import Prompt, Rollout, ScoredGroup, StopReason
    from verifiers.types import scored

    rng = np.random.default_rng(0)

    def rollout() -> Rollout:
        ids = rng.integers(0, 150_000, TOKENS, np.int32)
        logprobs = -rng.random(TOKENS, np.float32)
        return Rollout(ids, logprobs, "word " * TOKENS, StopReason.STOP, np.zeros(TOKENS, np.int32))

    def prompt(i: int) -> Prompt:
        ids = tuple(rng.integers(0, 150_000, PROMPT_TOKENS).tolist())
        return Prompt(f"p/{i}", ({"role": "user", "content": "word " * PROMPT_TOKENS},), ids, "v", None, {}, "s", i)

    verdicts = [scored(float(k % 2)) for k in range(SAMPLES)]
    return [ScoredGroup(prompt(i), tuple(rollout() for _ in range(SAMPLES)), tuple(verdicts)) for i in range(count)]


def measure(count: int) -> dict[str, float]:
    """Seconds of each part, and memory in GiB."""
    through(made(1))  # what is loaded and touched once
    scored = made(count)
    held = memory()
    return {**through(scored), "held": held, "peak": memory()}


def through(scored: list[Any]) -> dict[str, float]:
    """Seconds of each part."""
    from tower_rl import advantage
    from tower_rl.batching import assemble
    from tower_rl.config.stages import RlvrStage
    from tower_rl.reporting.rollouts import write_rollouts
    from tower_rl.stages.journal import Step, aligned, figures
    from tower_rl.types import StepResult

    groups, rewards = advantage.trainable(scored)
    stage = RlvrStage(name="made-up", kind="rlvr", steps=1)
    times = [time.process_time()]
    by_token = advantage.estimate(stage.model_copy(update={"advantage": "reinforce_plus_plus"}), groups, rewards)
    assert len(by_token[0][0]) == TOKENS
    del by_token
    times.append(time.process_time())
    advantages = advantage.estimate(stage, groups, rewards)
    times.append(time.process_time())
    with tempfile.TemporaryDirectory() as folder:
        write_rollouts(Path(folder) / "rollouts.parquet", 0, scored, aligned(scored, groups, advantages))
    times.append(time.process_time())
    batches = assemble(groups, advantages, ranks=RANKS, budget=BUDGET, temperature=1.0)
    times.append(time.process_time())
    row = figures(Step(1, scored, advantages, StepResult(0.0, 1.0, 0.0, 1, {}), {}, {}))
    times.append(time.process_time())
    assert row["tokens_generated"] == len(scored) * SAMPLES * TOKENS
    assert sum(int(m.mask.sum()) for batch in batches for m in batch.micro_batches) == len(scored) * SAMPLES * TOKENS
    return dict(zip(PARTS, (after - before for before, after in pairwise(times)), strict=True))


def memory() -> float:
    """Most memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def main(sizes: Sequence[int]) -> None:
    """A process a size."""
    print(f"{'groups':>8}{'tokens':>14}", *(f"{part} s".rjust(11) for part in PARTS), f"{'held GiB':>10}{'peak GiB':>10}")
    times = []
    for count in sizes:
        done = subprocess.run([sys.executable, __file__, "--one", str(count)], check=True, stdout=subprocess.PIPE, text=True)
        row = json.loads(done.stdout)
        times.append(sum(row[part] for part in PARTS))
        print(f"{count:>8}{count * SAMPLES * TOKENS:>14,}", *(f"{row[part]:11.2f}" for part in PARTS),
              f"{row['held']:>10.2f}{row['peak']:>10.2f}  load {os.getloadavg()[0]:.1f}", flush=True)  # fmt: skip
    if len(sizes) > 1:
        print(f"exponent: {math.log(times[-1] / times[0]) / math.log(sizes[-1] / sizes[0]):.2f}")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one"]:
        print(json.dumps(measure(int(sys.argv[2]))))
    else:
        main([int(size) for size in sys.argv[1:]] or SIZES)
