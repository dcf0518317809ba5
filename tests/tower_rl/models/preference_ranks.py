"""One rank of the tests of preference optimization, run as a process of its own: FOLDER OUTPUT REFERENCE, by helpers.run_ranks.

For each ZeRO stage and objective: sums of validation, then sums and whole gradients of a step, as
OUTPUT/STAGE-CASE-WORLD-RANK.npz.
"""

import os
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
from deepspeed.utils import safe_get_full_grad
from preference_cases import OBJECTIVES, TIGHT, random_pairs

from tower_rl.config.schema import Policy
from tower_rl.losses.preference import Objective
from tower_rl.models.load import load_model
from tower_rl.models.packed import PackedPolicy, score
from tower_rl.models.preference import PreferenceTrainer
from tower_rl.pair_batching import by_pair, mismatched, pair_batches
from tower_rl.types import Batch

POLICY = Policy(learning_rate=1e-3, zero_stage=0, logprob_chunk=7, max_grad_norm=0.5)
RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
LOOSE = 80
BUDGET = {1: LOOSE, 2: TIGHT}[WORLD]


def annotated(batches: Sequence[Batch], reference: PackedPolicy) -> list[Batch]:
    """With the reference's log-probabilities."""
    return [
        replace(b, micro_batches=tuple(replace(m, reference_logprobs=score(reference, m, 1.0)) for m in b.micro_batches))
        for b in batches
    ]


def batches(folder: Path) -> tuple[Batch, Batch]:
    """Of this rank: the pairs, packed otherwise than where the reference scored them, and prompts with answers to others."""
    pairs, reference = random_pairs(), PackedPolicy(load_model(folder, "float32"), 7)
    sides = by_pair(annotated(pair_batches(pairs, ranks=3, budget=LOOSE), reference), len(pairs))
    others = annotated(mismatched(pairs, ranks=WORLD, budget=BUDGET), reference)
    return pair_batches(pairs, ranks=WORLD, budget=BUDGET, reference=sides)[RANK], others[RANK]


def divergence(trainer: PreferenceTrainer, others: Batch) -> float:
    total = torch.tensor(trainer.log_ratios(others))
    dist.all_reduce(total)
    return float(total) / others.global_rollouts


def record(path: Path, trainer: PreferenceTrainer, batch: Batch, objective: Objective) -> None:
    """A step of learning rate 0: it clears the gradients and leaves the weights alone."""
    validation = trainer.evaluate(batch, objective)
    result = trainer.accumulate(batch, objective)
    found = {f"evaluate/{name}": np.array(value) for name, value in validation.items()}
    found |= {f"sum/{name}": np.array(value) for name, value in result.sums.items()}
    for name, parameter in trainer.network.named_parameters():
        found[f"grad/{name}"] = safe_get_full_grad(parameter).float().numpy().copy()
    found["norm"] = np.array(trainer.step(0.0))
    empty = sum(not m.mask.any() for m in batch.micro_batches)
    facts = {"tokens": result.tokens, "micro_batches": len(batch.micro_batches), "empty": empty, "divergence": batch.divergence}
    np.savez(path, **found, **{name: np.array(value) for name, value in facts.items()})


def checkpoint(folder: Path, output: Path, batch: Batch, others: Batch) -> None:
    """Two steps in one go, with validation between them; and one, a checkpoint, another trainer, one: the same weights."""
    policy, objective = POLICY.model_copy(update={"zero_stage": 1}), OBJECTIVES["wpo nll"]
    straight = PreferenceTrainer(folder, "bfloat16", policy, seed=0)
    before = [p.clone() for p in straight.network.parameters()]
    straight.update(batch, objective, 1e-3)
    straight.save(output / "checkpoint")
    straight.evaluate(batch, objective)
    straight.log_ratios(others)
    straight.update(batch, objective, 1e-3)
    resumed = PreferenceTrainer(folder, "bfloat16", policy, seed=1)
    resumed.load(output / "checkpoint")
    resumed.update(batch, objective, 1e-3)
    after = list(straight.network.parameters())
    same = [torch.equal(a, b) for a, b in zip(after, resumed.network.parameters(), strict=True)]
    moved = [not torch.equal(a, b) for a, b in zip(after, before, strict=True)]
    (output / "resumed").write_text(f"{sum(same)} {sum(moved)} {len(same)}")


def main(folder: Path, output: Path, reference: Path) -> None:
    torch.set_num_threads(1)
    batch, others = batches(reference)
    for stage in (0,) if WORLD == 1 else (1, 3):
        trainer = PreferenceTrainer(folder, "float32", POLICY.model_copy(update={"zero_stage": stage}), seed=0)
        kl = divergence(trainer, others)
        for name, objective in OBJECTIVES.items():
            path = output / f"{stage}-{name}-{WORLD}-{RANK}.npz"
            record(path, trainer, replace(batch, divergence=kl) if objective.loss == "kto" else batch, objective)
    if WORLD == 1:
        checkpoint(folder, output, batch, others)
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
