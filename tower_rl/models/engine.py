"""One data-parallel rank of DeepSpeed: set-up, checkpoints, export. Knows nothing of Ray; the process group is the caller's."""

import json
import os
from contextlib import nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("DS_ACCELERATOR", "cuda" if os.path.exists("/dev/nvidia0") else "cpu")

import deepspeed
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn.utils import get_total_norm

from tower_rl.config.schema import Policy
from tower_rl.models.adapters import adapters_of, is_adapter, merged, plain_name
from tower_rl.models.load import load_tokenizer


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
        self.engine, *_ = deepspeed.initialize(
            model=module, model_parameters=trained, config=_deepspeed_config(policy, dtype), dist_init_required=False
        )

    @property
    def network(self) -> nn.Module:
        """The Hugging Face model inside."""
        return self.engine.module.model

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
        """Name, dtype and whole shape of each parameter, without gathering any."""
        return [(n, p.dtype, tuple(getattr(p, "ds_shape", p.shape))) for n, p in self.network.named_parameters()]

    def whole(self, names: list[str]) -> "_Whole":
        """Context in which these parameters stand whole on every rank."""
        return _Whole([self.network.get_parameter(n) for n in names])

    def save(self, folder: Path) -> None:
        """Every rank writes its part of weights and optimizer below `folder`/deepspeed, rank 0 the model in `folder`/hf."""
        dist.barrier()  # the caller of the first rank makes the folder
        self.engine.save_checkpoint(str(folder / "deepspeed"), tag="state")
        self.export(folder / "hf")
        dist.barrier()

    def load(self, folder: Path) -> None:
        """Go on from a checkpoint of the same number of ranks and the same ZeRO stage.

        Raises:
            FileNotFoundError: if there is none.
        """
        path, _ = self.engine.load_checkpoint(str(folder / "deepspeed"), tag="state")
        if path is None:
            raise FileNotFoundError(f"{folder} holds no DeepSpeed checkpoint for this number of ranks and ZeRO stage")

    def export(self, folder: Path, shard_bytes: int = 4 * 2**30) -> None:
        """Write the model so that transformers and vLLM load it: parameters one by one into safetensors shards."""
        writer = dist.get_rank() == 0
        shard: dict[str, Tensor] = {}
        index: dict[str, str] = {}
        folder.mkdir(parents=True, exist_ok=True)
        for name, _, _ in self.described():
            if is_adapter(name):
                continue
            with self.whole([name, *adapters_of(name, self.network)]) as tensors:
                if writer:
                    shard[plain_name(name)] = merged(tensors, self.policy.lora).to("cpu", copy=True).contiguous()
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


def _deepspeed_config(policy: Policy, dtype: str) -> dict[str, Any]:
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
        "zero_optimization": {"stage": policy.zero_stage},
        "bf16": {"enabled": dtype == "bfloat16"},
        # DeepSpeed accumulates in float32 from stage 1 on; plain data parallelism adds micro-batches up in the model's dtype
        "data_types": {"grad_accum_dtype": "fp32" if policy.zero_stage > 0 else None},
        "gradient_clipping": policy.max_grad_norm,
        "optimizer": {"type": "AdamW", "params": adam},
        "steps_per_print": 10**9,
    }


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
    deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo", verbose=False)
