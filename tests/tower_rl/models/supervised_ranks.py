"""One rank of the tests of supervised training, run as a process of its own: FOLDER OUTPUT, by helpers.run_ranks.

Each case writes what it found as OUTPUT/NAME-WORLD-RANK.npz, or a folder of that kind.
"""

import os
import sys
from pathlib import Path

import numpy as np
import torch
from deepspeed.runtime.zero import GatheredParameters
from deepspeed.utils import safe_get_full_grad
from helpers import supervised_packs

from tower_rl.config.schema import Lora, Policy
from tower_rl.models.supervised import SupervisedTrainer

POLICY = Policy(learning_rate=1e-3, zero_stage=0, logprob_chunk=7, max_grad_norm=0.5, tokens_per_micro_batch=60)
LORA = Lora(rank=4, alpha=8.0)
RANK, WORLD = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])


def changed(**changes) -> Policy:
    return POLICY.model_copy(update=changes)


def mine(packs):
    """Every pack but the last three for the first rank, the rest for the second."""
    return packs if WORLD == 1 else (packs[:-3], packs[-3:])[RANK]


def gradients(trainer, packs) -> dict[str, np.ndarray]:
    loss, tokens, trained = trainer.accumulate(packs)
    found = {"loss": np.array(loss), "tokens": np.array(tokens), "trained": np.array(trained)}
    for name, parameter in trainer.network.named_parameters():
        if parameter.requires_grad:
            found[name] = safe_get_full_grad(parameter).float().numpy().copy()
    return found


def record(folder: Path, output: Path, name: str, policy: Policy, packs) -> None:
    """Loss and whole gradients before the first step, then the weights after it."""
    trainer = SupervisedTrainer(folder, "float32", policy, seed=0)
    np.savez(output / f"{name}-{WORLD}-{RANK}.npz", **gradients(trainer, packs))
    trainer.step(1e-3)
    trainer.export(output / f"{name}-{WORLD}")


def evaluate(folder: Path, output: Path, packs) -> None:
    trainer = SupervisedTrainer(folder, "float32", changed(zero_stage=3 if WORLD > 1 else 0), seed=0)
    found = trainer.evaluate(packs)
    np.savez(output / f"evaluate-{WORLD}-{RANK}.npz", **{k: np.array([v.total, v.tokens]) for k, v in found.items()})


def resume(folder: Path, output: Path, name: str, dtype: str, policy: Policy, packs) -> None:
    """Two steps in one go; one step, a checkpoint, another trainer, one step: the same weights, which it also exports."""
    straight = SupervisedTrainer(folder, dtype, policy, seed=0)
    frozen = {n: p.clone() for n, p in straight.network.named_parameters() if not p.requires_grad and policy.zero_stage < 3}
    straight.update(packs, 1e-3)
    straight.save(output / f"checkpoint-{name}-{WORLD}")
    straight.update(packs, 1e-3)
    assert all(torch.equal(p, straight.network.get_parameter(n)) for n, p in frozen.items()), "a frozen weight moved"
    resumed = SupervisedTrainer(folder, dtype, policy, seed=1)
    resumed.load(output / f"checkpoint-{name}-{WORLD}")
    resumed.update(packs, 1e-3)
    straight.export(output / f"straight-{name}-{WORLD}")
    resumed.export(output / f"resumed-{name}-{WORLD}")
    found = {}
    for kind, trainer in (("straight", straight), ("resumed", resumed)):
        for n, p in trainer.network.named_parameters():  # adapters too, which an export merges
            with GatheredParameters([p]):
                found[f"{kind}/{n}"] = p.detach().float().numpy().copy()
    np.savez(output / f"resume-{name}-{WORLD}-{RANK}.npz", **found)


def curve(folder: Path, output: Path, packs) -> None:
    trainer = SupervisedTrainer(folder, "float32", POLICY, seed=0)
    results = [trainer.update(packs, 1e-3) for _ in range(10)]
    np.savez(output / f"curve-{WORLD}-{RANK}.npz", loss=[r.loss for r in results], norm=[r.grad_norm for r in results])


def main(folder: Path, output: Path) -> None:
    torch.set_num_threads(1)
    packs = supervised_packs()
    own = mine(packs)
    for stage in range(4) if WORLD > 1 else [0]:
        record(folder, output, f"zero{stage}", changed(zero_stage=stage), own)
    evaluate(folder, output, own)
    resume(folder, output, "lora3", "float32", changed(lora=LORA, zero_stage=3), own)
    if WORLD == 1:
        record(folder, output, "large", changed(tokens_per_micro_batch=1000), packs[::-1])
        record(folder, output, "again", changed(gradient_checkpointing=True), packs)
        record(folder, output, "lora", changed(lora=LORA), packs)
        record(folder, output, "lora-again", changed(lora=LORA, gradient_checkpointing=True), packs)
        resume(folder, output, "plain", "float32", POLICY, packs)
        resume(folder, output, "half", "bfloat16", changed(zero_stage=1), packs)
        resume(folder, output, "lora1", "bfloat16", changed(lora=LORA, zero_stage=1), packs)
        curve(folder, output, packs)
    else:
        record(folder, output, "idle", changed(zero_stage=3), (packs, [])[RANK])
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
