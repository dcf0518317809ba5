"""One rank of the tests of methods, run as a process of its own: FOLDER OUTPUT, by helpers.run_ranks.

Two steps of every method, one after the other.
"""

import json
import os
import sys
from pathlib import Path

import numpy as np
import torch
from helpers import random_groups
from policy_cases import stage

from tower_rl import advantage
from tower_rl.batching import assemble
from tower_rl.config.methods import ADVANTAGES, LOSSES
from tower_rl.config.schema import Policy
from tower_rl.losses.policy import Objective
from tower_rl.models.trainer import Trainer
from tower_rl.types import ScoredGroup
from verifiers.types import scored

SIZES = (3, 2, 4)
BUDGET = 24


def main(folder: Path, output: Path) -> None:
    torch.set_num_threads(1)
    rank, world = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
    trainer = Trainer(folder, "float32", Policy(logprob_chunk=7, max_grad_norm=1e6), seed=0)
    (output / f"steps-{rank}.json").write_text(json.dumps([steps(trainer, rank, world, name) for name in methods()]))
    torch.distributed.destroy_process_group()


def methods() -> list[tuple[str, str]]:
    """Every advantage with the loss vanilla, every loss with the advantage grpo."""
    return [(name, "vanilla") for name in ADVANTAGES] + [("grpo", name) for name in LOSSES if name != "vanilla"]


def steps(trainer: Trainer, rank: int, world: int, names: tuple[str, str]) -> dict:
    """Two steps, each from scored groups to new weights."""
    more = {"reward_parts": {"a": 1.0, "b": 2.0}} if names[0] == "gdpo" else {}
    about = stage(names[1], LOSSES[names[1]].aggregation or "token-mean", advantage=names[0], **more)
    results = []
    for seed in range(2):
        before = [p.detach().clone() for p in trainer.network.parameters()]
        every = made_up(seed)
        groups, rewards = advantage.trainable(every)
        values = advantage.estimate(about, groups, rewards, advantage.by_part(every, list(about.reward_parts)))
        batch = assemble(groups, values, ranks=world, budget=BUDGET, temperature=1.0)[rank]
        result = trainer.update(batch, Objective.of(about), 1e-4)
        moved = sum(not torch.equal(a, b) for a, b in zip(before, trainer.network.parameters(), strict=True))
        results.append({"loss": result.sums["loss"], "grad_norm": result.grad_norm, "moved": moved, "of": len(before)})
    return {"advantage": names[0], "loss": names[1], "steps": results}


def made_up(seed: int) -> list[ScoredGroup]:
    """Groups with random verdicts."""
    groups, _ = random_groups(seed, SIZES)
    rng = np.random.default_rng(seed)
    made = []
    for group in groups:
        scores = [{"a": float(a), "b": float(b)} for a, b in rng.random((len(group.rollouts), 2))]
        verdicts = tuple(scored((s["a"] + s["b"]) / 2, parts=s) for s in scores)
        made.append(ScoredGroup(group.prompt, group.rollouts, verdicts))
    return made


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
