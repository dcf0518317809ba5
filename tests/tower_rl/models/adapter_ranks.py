"""One rank of the tests of adapters in preference optimization and reinforcement learning: FOLDER OUTPUT, by helpers.run_ranks.

For each ZeRO stage: steps with adapters, what the ranks then say with adapters on and off, and the merged weights.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_fp32_param
from preference_cases import OBJECTIVES, random_pairs
from safetensors.torch import save_file

from tower_rl.config.schema import Lora, Policy
from tower_rl.models.packed import score
from tower_rl.models.preference import PreferenceTrainer
from tower_rl.pair_batching import pair_batches
from tower_rl.types import Batch

RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
OBJECTIVE, RATE = OBJECTIVES["simpo"], 1e-2


def adapters(trainer: PreferenceTrainer) -> list[torch.Tensor]:
    """Whole master weights; one rank has none beside its float32 weights."""
    own = [p for name, p in trainer.network.named_parameters() if "lora_" in name]
    return [(p.detach() if (master := safe_get_full_fp32_param(p)) is None else master).clone() for p in own]


def trained(folder: Path, policy: Policy, batch: Batch, ask: bool) -> PreferenceTrainer:
    """After two steps, between and after which the reference is asked, or not."""
    trainer = PreferenceTrainer(folder, "float32", policy, seed=0)
    for _ in range(2):
        trainer.update(batch, OBJECTIVE, RATE)
        if ask:
            trainer.reference(batch)
    return trainer


def main(folder: Path, output: Path) -> None:
    torch.set_num_threads(1)
    batch = pair_batches(random_pairs(), ranks=WORLD, budget=60)[RANK]
    for stage in (1, 3):
        policy = Policy(zero_stage=stage, logprob_chunk=7, lora=Lora(rank=4))
        trainer = trained(folder, policy, batch, ask=True)
        untouched = trained(folder, policy, batch, ask=False)
        same = [torch.equal(a, b) for a, b in zip(adapters(trainer), adapters(untouched), strict=True)]
        found = {"same": np.array(all(same) and len(same) > 0)}
        for i, reference in enumerate(trainer.reference(batch)):
            found[f"off/{i}"] = reference
            found[f"on/{i}"] = score(trainer.engine, batch.micro_batches[i], batch.temperature)
        np.savez(output / f"{stage}-{WORLD}-{RANK}.npz", **found)
        described = trainer.described()
        with trainer.whole([name for name, _, _ in described]) as weights:
            assert [(w.dtype, tuple(w.shape)) for w in weights] == [(dtype, shape) for _, dtype, shape in described]
            merged = {name: weight.detach().clone() for (name, _, _), weight in zip(described, weights, strict=True)}
        save_file(merged, output / f"{stage}-{WORLD}-{RANK}.safetensors")
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
