"""One rank of a frozen model that is partitioned over all of them (ZeRO-3 without an optimizer). Knows nothing of Ray."""

from pathlib import Path

import deepspeed

from tower_rl.models.engine import join
from tower_rl.models.packed import PackedPolicy, score_all
from tower_rl.models.sharded import load_sharded
from tower_rl.types import Batch, Floats


class ShardedReference:
    """A rank. Every method is a collective: all ranks call it, in the same order."""

    def __init__(self, folder: Path, dtype: str, chunk: int) -> None:
        """Load the model; torch.distributed's environment variables say who the others are.

        Args:
            folder: of the model.
            dtype: of the weights, "bfloat16" or "float32".
            chunk: response tokens whose logits stand in memory at once.
        """
        join(0)
        module = PackedPolicy(load_sharded(folder, dtype), chunk).requires_grad_(requires_grad=False)
        config = {
            "train_micro_batch_size_per_gpu": 1,  # DeepSpeed wants one, and counts nothing by it
            "zero_optimization": {"stage": 3},
            "bf16": {"enabled": dtype == "bfloat16"},
        }
        self.engine, *_ = deepspeed.initialize(model=module, config=config, dist_init_required=False)
        self.engine.eval()

    def score(self, batch: Batch) -> list[Floats]:
        """[B, T] log-probabilities of each micro-batch, of which every rank has the same number."""
        return score_all(self.engine, batch, "scoring")
