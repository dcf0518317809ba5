"""One data-parallel rank of training with DeepSpeed. Knows nothing of Ray; the process group is the caller's."""

import json
import os
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("DS_ACCELERATOR", "cuda" if os.path.exists("/dev/nvidia0") else "cpu")

import deepspeed
import torch
import torch.distributed as dist
from safetensors.torch import save_file
from torch import Tensor

from tower_rl.config.schema import Policy
from tower_rl.losses.policy import Denominators, Objective, policy_loss
from tower_rl.models.load import load_model, load_tokenizer
from tower_rl.models.packed import PackedPolicy, scatter, score, tensor
from tower_rl.types import Batch, Floats, MicroBatch


@dataclass(frozen=True, slots=True)
class RankResult:
    """One rank's part of a step: `sums` and `tokens` add up over ranks, `largest` is a maximum."""

    sums: dict[str, float]
    largest: float
    tokens: int
    grad_norm: float


class Trainer:
    """A rank. Every method but the constructor is a collective: all ranks call it, in the same order."""

    def __init__(self, folder: Path, dtype: str, policy: Policy, *, seed: int) -> None:
        """Load the model and make the optimizer; torch.distributed's environment variables say who the others are."""
        torch.manual_seed(seed)
        deepspeed.init_distributed(dist_backend="nccl" if torch.cuda.is_available() else "gloo", verbose=False)
        model = load_model(folder, dtype)
        if policy.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        self.source_folder = folder
        self.engine, *_ = deepspeed.initialize(
            model=PackedPolicy(model, policy.logprob_chunk), config=_deepspeed_config(policy, dtype)
        )

    @property
    def network(self) -> torch.nn.Module:
        """The Hugging Face model inside."""
        return self.engine.module.model

    def update(self, batch: Batch, objective: Objective, learning_rate: float) -> RankResult:
        """One optimizer step."""
        result = self.accumulate(batch, objective)
        for group in self.engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self.engine.step()
        norm = self.engine.get_global_grad_norm()
        return RankResult(result.sums, result.largest, result.tokens, float(norm) if norm is not None else float("nan"))

    def accumulate(self, batch: Batch, objective: Objective) -> RankResult:
        """Forward and backward over the micro-batches; the gradients are those of the whole batch, over all ranks."""
        over = Denominators(dist.get_world_size(), batch.global_tokens, batch.global_rollouts)
        sums: dict[str, float] = {}
        largest, tokens, last = 0.0, 0, len(batch.micro_batches) - 1
        for i, micro_batch in enumerate(batch.micro_batches):
            self.engine.set_gradient_accumulation_boundary(i == last)
            loss, parts, peak = self._loss(micro_batch, batch.temperature, objective, over)
            self.engine.backward(loss, scale_wrt_gas=False)
            parts["loss"] = loss.detach() / over.ranks
            for name, value in parts.items():
                sums[name] = sums.get(name, 0.0) + float(value)
            largest = max(largest, peak)
            tokens += int((micro_batch.branches >= 0).sum())
        return RankResult(sums, largest, tokens, float("nan"))

    def _loss(
        self, micro_batch: MicroBatch, temperature: float, objective: Objective, over: Denominators
    ) -> tuple[Tensor, dict[str, Tensor], float]:
        logprobs, entropies = self.engine(micro_batch, temperature)
        padded = scatter(logprobs, micro_batch)
        device, reference = padded.device, micro_batch.reference_logprobs
        old, mask = tensor(micro_batch.old_logprobs, device), tensor(micro_batch.mask, device)
        loss, sums = policy_loss(
            objective,
            over,
            padded,
            old,
            None if reference is None else tensor(reference, device),
            tensor(micro_batch.advantages, device),
            mask,
        )
        sums["entropy"] = (scatter(entropies, micro_batch) * mask).sum()
        return loss, sums, float(((padded.detach() - old).abs() * mask).max())

    def probe(self, micro_batch: MicroBatch) -> Floats:
        """[B, T] log-probabilities at temperature 1."""
        return score(self.engine, micro_batch, 1.0)

    def described(self) -> list[tuple[str, torch.dtype, tuple[int, ...]]]:
        """Name, dtype and whole shape of each parameter, without gathering any."""
        return [(n, p.dtype, tuple(getattr(p, "ds_shape", p.shape))) for n, p in self.network.named_parameters()]

    def whole(self, names: list[str]) -> "_Whole":
        """Context in which these parameters stand whole on every rank."""
        return _Whole([self.network.get_parameter(n) for n in names])

    def save(self, folder: Path) -> None:
        """Every rank writes its part of weights and optimizer below `folder`/deepspeed, rank 0 the model in `folder`/hf."""
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
            with self.whole([name]) as (tensor,):
                if writer:
                    shard[name] = tensor.detach().to("cpu", copy=True).contiguous()
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
    adam = {"lr": policy.learning_rate, "betas": list(policy.betas), "weight_decay": policy.weight_decay, "torch_adam": True}
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
