"""One rank of the memory tests, run as a process of its own: FOLDER OUTPUT, by helpers.run_ranks.

For each case of CASES: the most bytes of tensors that stand in the second step; the first one makes the optimizer's moments.
"""

import json
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from helpers import Standing, prompt, rollout
from memory_cases import CASES, PROMPT, dtype, policy

from tower_rl.batching import assemble
from tower_rl.config.schema import Policy
from tower_rl.losses.policy import Objective
from tower_rl.models.engine import join
from tower_rl.models.trainer import Trainer
from tower_rl.types import Group


def measure(folder: Path, weights: str, asked: Policy, rank: int) -> int:
    rng, groups = np.random.default_rng(0), []
    for i in range(2 * asked.workers):  # two micro-batches a rank
        count = asked.tokens_per_micro_batch - PROMPT
        groups.append(
            Group(prompt(rng.integers(3, 500, PROMPT), i), (rollout(rng.integers(3, 500, count), -3 - rng.random(count)),))
        )
    ones = [np.ones(1, np.float32)] * len(groups)
    batch = assemble(groups, ones, ranks=asked.workers, budget=asked.tokens_per_micro_batch, temperature=1.0)[rank]
    assert len(batch.micro_batches) == 2
    objective = Objective("vanilla", "token-mean", 0.2, 0.2, 0.0, "k3")
    with Standing() as standing:
        trainer = Trainer(folder, weights, asked, seed=0)
        trainer.update(batch, objective, 1e-4)
        standing.peak = 0
        trainer.update(batch, objective, 1e-4)
    mapped = {p.untyped_storage()._cdata: p.untyped_storage().nbytes() for p in trainer.network.parameters()}
    unseen = sum(size for key, size in mapped.items() if key not in standing.known)  # files that were mapped
    return standing.peak + unseen


def main(folder: Path, output: Path) -> None:
    torch.set_num_threads(1)
    join(0)
    rank, world = dist.get_rank(), dist.get_world_size()
    found = {name: measure(folder, dtype(name), policy(name, world), rank) for name in CASES}
    (output / f"{world}-{rank}.json").write_text(json.dumps(found))
    dist.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
