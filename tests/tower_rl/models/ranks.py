"""One rank of the trainer tests, run as a process of its own: FOLDER OUTPUT STAGES, by helpers.run_ranks.

For each ZeRO stage: the loss and whole gradients before the first optimizer step, then one step, then a checkpoint. For some
the same gradients with rollout correction.
"""

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from deepspeed.utils import safe_get_full_grad
from helpers import plain_model, random_groups, sampled_groups

from tower_rl.batching import assemble, rescored
from tower_rl.config.schema import Policy
from tower_rl.config.stages import Correction, Rejection
from tower_rl.losses.policy import Objective
from tower_rl.models.trainer import Trainer

SIZES = (3, 2, 4)
BUDGET = 60
OBJECTIVE = Objective("vanilla", "token-mean", 0.2, 0.2, 0.0, "k3")
CORRECTION = Correction(weights="token", truncate=1.2, reject=Rejection(ratio="geometric", low=0.8, high=1.25))


def main(folder: Path, output: Path, stages: list[int]) -> None:
    torch.set_num_threads(1)
    rank, world = int(__import__("os").environ["RANK"]), int(__import__("os").environ["WORLD_SIZE"])
    groups, advantages = random_groups(0, SIZES)
    batch = assemble(groups, advantages, ranks=world, budget=BUDGET, temperature=0.7)[rank]
    for stage in stages:
        policy = Policy(learning_rate=1e-3, zero_stage=stage, logprob_chunk=7, max_grad_norm=0.5)
        trainer = Trainer(folder, "float32", policy, seed=0)
        result = trainer.accumulate(batch, OBJECTIVE)
        found = {"loss": np.array(result.sums["loss"]), "micro_batches": np.array(len(batch.micro_batches))}
        for name, parameter in trainer.network.named_parameters():
            found[name] = safe_get_full_grad(parameter).float().numpy().copy()
        trainer.engine.step()
        np.savez(output / f"grads-{world}-{stage}-{rank}.npz", **found)
        trainer.export(output / f"export-{world}-{stage}")
        nothing = assemble([], [], ranks=world, budget=BUDGET, temperature=0.7)[rank]
        assert trainer.update(nothing, OBJECTIVE, 1e-3).grad_norm == 0
    for stage in {0, 3} & set(stages):
        corrected(folder, output, stage)
    for dtype, stage in (("bfloat16", 1), ("float32", 1), ("float32", 2)):
        checkpoint(folder, output, batch, dtype, stage)
    if world > 1:
        sums(folder, output, batch)
    torch.distributed.destroy_process_group()


def corrected(folder: Path, output: Path, stage: int) -> None:
    """The gradients where the old log-probabilities are the ranks' own, and what that corrects."""
    rank, world = torch.distributed.get_rank(), torch.distributed.get_world_size()
    groups, advantages = sampled_groups(plain_model(folder), 0, SIZES, temperature=0.7)
    batch = assemble(groups, advantages, ranks=world, budget=BUDGET, temperature=0.7)[rank]
    trainer = Trainer(folder, "float32", Policy(zero_stage=stage, logprob_chunk=7), seed=0)
    result = trainer.accumulate(rescored(batch, trainer.score(batch)), replace(OBJECTIVE, correction=CORRECTION))
    found = {f"figure {name}": np.array(value) for name, value in result.sums.items()}
    for name, parameter in trainer.network.named_parameters():
        found[name] = safe_get_full_grad(parameter).float().numpy().copy()
    np.savez(output / f"corrected-{world}-{stage}-{rank}.npz", **found)


def checkpoint(folder: Path, output: Path, batch, dtype: str, stage: int) -> None:
    """Two steps in one go, and one step, a checkpoint, another process's worth of trainer, one step: the same weights."""
    world, rank = torch.distributed.get_world_size(), torch.distributed.get_rank()
    name, policy = f"{world}-{dtype}-{stage}", Policy(learning_rate=1e-3, zero_stage=stage)
    straight = Trainer(folder, dtype, policy, seed=0)
    straight.update(batch, OBJECTIVE, 1e-3)
    straight.save(output / name)
    straight.update(batch, OBJECTIVE, 1e-3)
    resumed = Trainer(folder, dtype, policy, seed=0)
    resumed.load(output / name)
    resumed.update(batch, OBJECTIVE, 1e-3)
    same = [torch.equal(a, b) for a, b in zip(straight.network.parameters(), resumed.network.parameters(), strict=True)]
    size = sum(path.stat().st_size for path in (output / name / "deepspeed" / "state").iterdir())
    size /= sum(parameter.numel() for parameter in straight.network.parameters())
    (output / f"resumed-{name}-{rank}").write_text(f"{sum(same)} {len(same)} {size}")


def sums(folder: Path, output: Path, batch) -> None:
    """The share of the gradients at stage 1 that bfloat16 could hold."""
    trainer = Trainer(folder, "bfloat16", Policy(zero_stage=1), seed=0)
    trainer.accumulate(batch, OBJECTIVE)
    gradients = torch.cat([safe_get_full_grad(parameter).flatten() for parameter in trainer.network.parameters()])
    gradients = gradients[gradients != 0]  # of embeddings that were not used
    share = (gradients == gradients.bfloat16()).float().mean()
    (output / f"rounded-{torch.distributed.get_rank()}").write_text(str(float(share)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), [int(s) for s in sys.argv[3].split(",")])
