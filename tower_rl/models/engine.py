"""One data-parallel rank of DeepSpeed: set-up, checkpoints, export. Knows nothing of Ray; the process group is the caller's."""

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from datetime import timedelta
from itertools import groupby
from math import prod
from pathlib import Path
from typing import Any

os.environ.setdefault("DS_ACCELERATOR", "cuda" if os.path.exists("/dev/nvidia0") else "cpu")

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from deepspeed.runtime.zero.stage_1_and_2 import DeepSpeedZeroOptimizer
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from tower_rl.config.schema import Policy
from tower_rl.models.adapters import adapters_of, is_adapter, merged, plain_name
from tower_rl.models.load import load_tokenizer
from tower_rl.models.sharded import whole_shape
from tower_rl.models.zero import REDUCED, effective_stage
from tower_rl.status import transferring

TOGETHER = timedelta(days=7)
"""Deadline of a collective. Ranks wait for a slow one as long as it takes; who watches them ends them when none moves."""


class Rank:
    """What all trainers have. Every method is a collective: all ranks call it, in the same order."""

    def __init__(self, module: nn.Module, policy: Policy, dtype: str, source: Path) -> None:
        """Make the optimizer; the process group stands (`join`).

        Args:
            module: to train; its attribute `model` is the Hugging Face model.
            policy: optimizer and ZeRO stage.
            dtype: of the weights, "bfloat16" or "float32".
            source: folder that the model was loaded from.
        """
        self.source_folder = source
        self.policy = policy
        trained = [parameter for parameter in module.parameters() if parameter.requires_grad]
        elements, ranks = sum(prod(whole_shape(parameter)) for parameter in trained), dist.get_world_size()
        config = _deepspeed_config(policy, dtype, elements, ranks)
        self.engine, *_ = deepspeed.initialize(model=module, model_parameters=trained, config=config, dist_init_required=False)
        if dtype == "float32":
            _share_masters(self.engine.optimizer)
        if ranks == 1 and self.engine.zero_optimization_stage() < 2:
            # All-reduce copies the gradients into one buffer and back, which other stages need for their partitions.
            self.engine.enable_backward_allreduce = False

    @property
    def network(self) -> nn.Module:
        """The Hugging Face model inside."""
        return self.engine.module.model

    def release(self) -> None:
        """Leave the memory that is kept for later tensors to others on this GPU."""
        torch.cuda.empty_cache()  # does nothing on a CPU

    def step(self, learning_rate: float) -> float:
        """One optimizer step with the gradients that were accumulated; their norm before clipping."""
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        # DeepSpeed tells no norm where torch's own optimizer steps: stage 0 in float32, whose gradients are whole on each rank.
        plain = isinstance(self.engine.optimizer, torch.optim.Optimizer)
        norm = get_total_norm([p.grad for p in self.engine.module.parameters() if p.grad is not None]) if plain else None
        self.engine.step()
        return float(self.engine.get_global_grad_norm() if norm is None else norm)

    def described(self) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Name, dtype and whole shape of each weight of the plain model, without gathering any."""
        return [(plain_name(n), p.dtype, whole_shape(p)) for n, p in self.network.named_parameters() if not is_adapter(n)]

    @contextmanager
    def whole(self, names: list[str]) -> Iterator[list[Tensor]]:
        """Context in which these weights of the plain model stand whole on every rank, adapters merged into them."""
        own = {plain_name(n): n for n, _ in self.network.named_parameters() if not is_adapter(n)}
        parts = [[own[n], *adapters_of(own[n], self.network)] for n in names]
        with _Whole([self.network.get_parameter(n) for part in parts for n in part]) as tensors:
            given = iter(tensors)
            yield [merged([next(given) for _ in part], self.policy.lora) for part in parts]

    def save(self, folder: Path) -> None:
        """Every rank writes its part of weights and optimizer below `folder`/deepspeed, rank 0 the model in `folder`/hf."""
        dist.barrier()  # the caller of the first rank makes the folder
        with transferring("writing a checkpoint"):
            with _own_masters(self.engine.optimizer):
                self.engine.save_checkpoint(str(folder / "deepspeed"), tag="state")
            self.export(folder / "hf")
        dist.barrier()

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint of the same number of ranks and the same ZeRO stage.

        Raises:
            FileNotFoundError: if there is none.
        """
        with transferring("reading a checkpoint"):
            path, _ = self.engine.load_checkpoint(str(folder / "deepspeed"), tag="state")
        if path is None:
            raise FileNotFoundError(f"{folder} holds no DeepSpeed checkpoint for this number of ranks and ZeRO stage")

    def export(self, folder: Path, shard_bytes: int = 4 * 2**30) -> None:
        """Write the model so that transformers and vLLM load it: layer by layer into safetensors shards.

        Whole at once are one layer on every rank, and on the first, on the CPU, a shard with the layer that fills it.
        """
        writer = dist.get_rank() == 0
        shard: dict[str, Tensor] = {}
        index: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for names in _by_layer([name for name, _, _ in self.described()]):
            with self.whole(names) as weights:
                if writer:
                    shard |= {n: w.to("cpu", copy=True).contiguous() for n, w in zip(names, weights, strict=True)}
            if sum(t.nbytes for t in shard.values()) > shard_bytes:
                _write_shard(folder, shard, index)
        if writer:
            _write_shard(folder, shard, index)
            _write_rest(folder, index, self.network, self.source_folder)


class _Whole:
    """Gathers ZeRO-3 parameters for reading; plain ones are whole already."""

    def __init__(self, parameters: list[Any]) -> None:
        self.parameters = parameters
        partitioned = any(hasattr(p, "ds_id") for p in parameters)
        self.context: Any = deepspeed.zero.GatheredParameters(parameters) if partitioned else nullcontext()

    def __enter__(self) -> list[Tensor]:
        self.context.__enter__()
        return [p.data for p in self.parameters]

    def __exit__(self, *error: Any) -> None:
        self.context.__exit__(*error)


def _deepspeed_config(policy: Policy, dtype: str, elements: int, ranks: int) -> dict[str, Any]:
    """For so many elements that are trained by so many ranks."""
    stage = effective_stage(policy, getattr(torch, dtype).itemsize, ranks)
    adam = {
        "lr": policy.learning_rate,
        "betas": list(policy.betas),
        "weight_decay": policy.weight_decay,
        "torch_adam": True,
        "fused": True,  # one pass over the weights instead of one for each term: a third of the time on a CPU
    }
    return {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        # DeepSpeed makes a buffer of this size, so its default would cost a small model a gigabyte
        "zero_optimization": {"stage": stage, "reduce_bucket_size": min(REDUCED, elements)},
        "bf16": {"enabled": dtype == "bfloat16"},
        # DeepSpeed accumulates in float32 from stage 1 on; plain data parallelism adds micro-batches up in the model's dtype
        "data_types": {"grad_accum_dtype": "fp32" if stage > 0 else None},
        # At stage 1 these sums are what is reduced, by default in the model's dtype: they would be rounded to bfloat16
        **({"communication_data_type": "fp32"} if stage == 1 else {}),
        "gradient_clipping": policy.max_grad_norm,
        "optimizer": {"type": "AdamW", "params": adam},
        "steps_per_print": 10**9,
    }


def _share_masters(optimizer: Any) -> None:
    """Let float32 weights be their own master weights, of which ZeRO 1 and 2 make a copy; other stages make none."""
    if isinstance(optimizer, DeepSpeedZeroOptimizer):
        parts = zip(optimizer.single_partition_of_fp32_groups, optimizer.parallel_partitioned_bit16_groups, strict=True)
        for master, partitions in parts:
            master.data = partitions[dist.get_rank()]
        optimizer._link_all_hp_params()  # its views of the copy would keep that


@contextmanager
def _own_masters(optimizer: Any) -> Iterator[None]:
    """Context in which no master weights share storage with others, all of which torch would save with them."""
    masters = optimizer.single_partition_of_fp32_groups if isinstance(optimizer, DeepSpeedZeroOptimizer) else []
    shared = [master.data for master in masters]
    for master in masters:
        master.data = master.data.clone()
    yield
    for master, data in zip(masters, shared, strict=True):
        master.data = data


def _by_layer(names: Sequence[str]) -> list[list[str]]:
    """Neighbours that belong to the same layer, or to none: gathered together, they take less than half the time."""
    return [list(group) for _, group in groupby(names, key=lambda name: name.partition(".layers.")[2].partition(".")[0])]


def _write_shard(folder: Path, shard: dict[str, Tensor], index: dict[str, str]) -> None:
    name = f"model-{len(set(index.values())) + 1:05d}.safetensors"
    save_file(shard, folder / name, metadata={"format": "pt"})
    index.update(dict.fromkeys(shard, name))
    shard.clear()


def _write_rest(folder: Path, index: dict[str, str], network: Any, source: Path) -> None:
    """Index, configuration, generation settings and tokenizer."""
    total = sum((folder / name).stat().st_size for name in set(index.values()))
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {"total_size": total}, "weight_map": index}))
    network.config.save_pretrained(folder)
    if network.can_generate() and network.generation_config is not None:
        network.generation_config.save_pretrained(folder)
    load_tokenizer(source).save_pretrained(folder)


def join(seed: int) -> None:
    """Meet the other ranks, unless that has been done; torch.distributed's environment variables say who they are."""
    torch.manual_seed(seed)
    # DeepSpeed's all-reduce through shared memory is no faster than gloo, takes a minute to compile, and torch guards the
    # build with a file: a process killed beside it leaves the file behind, and every later start would wait for ever.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    backend = "nccl" if get_accelerator().device_name() == "cuda" else "gloo"
    deepspeed.init_distributed(dist_backend=backend, timeout=TOGETHER, verbose=False)
