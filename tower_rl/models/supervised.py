"""One data-parallel rank of supervised training with DeepSpeed. Knows nothing of Ray; the process group may stand already."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from itertools import zip_longest
from math import prod
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from transformers import PreTrainedModel

from tower_rl.config.schema import Policy
from tower_rl.data.packs import Pack
from tower_rl.lm_batching import empty, micro_batches
from tower_rl.losses.lm import LmHead
from tower_rl.models.adapters import inject
from tower_rl.models.attention import ATTENTION
from tower_rl.models.engine import Rank, join
from tower_rl.models.layout import documents
from tower_rl.models.load import SUPERVISED_FAMILIES
from tower_rl.models.packed import tensor
from tower_rl.models.sharded import load_for, whole_shape
from tower_rl.status import tracked
from tower_rl.types import LmMicroBatch, LmResult, StreamLoss

_PEAK_SIZE, _PEAK_SECONDS = 2048, 0.5


class PackedDocuments(nn.Module):
    """A causal language model over documents side by side, none of which sees another."""

    def __init__(self, model: PreTrainedModel, chunk: int) -> None:
        """Takes over `model`, whose attention and head are replaced.

        Args:
            model: a causal language model without bias in its head.
            chunk: tokens whose logits stand in memory at once.
        """
        super().__init__()
        model.set_attn_implementation(ATTENTION)
        model.lm_head = LmHead(model.lm_head.weight, chunk, getattr(model.config, "final_logit_softcapping", None))
        self.model = model

    def forward(self, micro_batch: LmMicroBatch) -> tuple[Tensor, Tensor]:
        """Sum of the losses of the learned tokens, with gradient, and [M] each, without; float32."""
        device = self.model.device
        output = self.model.model(
            input_ids=tensor(micro_batch.token_ids, device)[None],
            position_ids=tensor(micro_batch.position_ids, device)[None],
            attention_mask=None,
            use_cache=False,
            documents=documents(micro_batch.offsets, device),
        )
        hidden = output.last_hidden_state[0, tensor(micro_batch.predictors, device)]
        return self.model.lm_head(hidden, tensor(micro_batch.targets, device))


class SupervisedTrainer(Rank):
    """A rank. Every method is a collective: all ranks call it, in the same order."""

    def __init__(self, folder: Path, dtype: str, policy: Policy, *, seed: int) -> None:
        """Load the model and make the optimizer."""
        join(seed)
        model = load_for(policy, folder, dtype, SUPERVISED_FAMILIES)
        if torch.cuda.is_available():
            _use_liger(model)
        module = PackedDocuments(model, policy.logprob_chunk)
        if policy.lora is not None:
            inject(model, policy.lora)
        if policy.gradient_checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        self._body, self._head = _sizes(model)
        self._peak = _peak_flops(getattr(torch, dtype), torch.device("cuda" if torch.cuda.is_available() else "cpu"))
        super().__init__(module, policy, dtype, folder)

    def update(self, packs: Sequence[Pack], learning_rate: float) -> LmResult:
        """One optimizer step on the packs of all ranks. Which rank has which, and how they are split, changes nothing."""
        loss, tokens, trained = self.accumulate(packs)
        norm = self.step(learning_rate)
        flops = 6 * (self._body + self._head * trained / tokens)
        return LmResult(loss, norm, learning_rate, tokens, trained, flops, self._peak)

    def accumulate(self, packs: Sequence[Pack]) -> tuple[float, int, int]:
        """Gradients of the mean loss over the learned tokens of all ranks; that loss, all tokens, and learned ones."""
        parts = micro_batches(packs, self.policy.tokens_per_micro_batch)
        trained, tokens = (
            int(n) for n in self._summed([sum(len(p.targets) for p in parts), sum(len(p.token_ids) for p in parts)])
        )
        if trained == 0:
            raise ValueError("a step without a token to learn")
        parts = self._as_many_as_others(parts)
        total = 0.0
        for i, part in enumerate(tracked("training", "micro-batch", parts)):
            self.engine.set_gradient_accumulation_boundary(i == len(parts) - 1)
            loss, _ = self.engine(part)
            # DeepSpeed takes the mean over ranks.
            self.engine.backward(loss * (dist.get_world_size() / trained), scale_wrt_gas=False)
            total += float(loss.detach())
        return float(self._summed([total])[0]) / trained, tokens, trained

    @torch.no_grad()
    def evaluate(self, packs: Iterable[Pack]) -> Mapping[str, StreamLoss]:
        """Losses by stream over the packs of all ranks."""
        self.engine.eval()
        totals, counts = Counter[str](), Counter[str]()
        parts = self._as_many_as_others(micro_batches(list(packs), self.policy.tokens_per_micro_batch))
        for part in tracked("validating", "micro-batch", parts):
            _, each = self.engine(part)
            sums = torch.zeros(len(part.streams), dtype=torch.float64).index_add_(
                0, torch.from_numpy(part.stream_ids), each.double().cpu()
            )
            for i, stream in enumerate(part.streams):
                totals[stream] += float(sums[i])  # type: ignore[assignment]
                counts[stream] += int((part.stream_ids == i).sum())
        self.engine.train()
        gathered: list[tuple[Counter[str], Counter[str]]] = [(totals, counts)] * dist.get_world_size()
        dist.all_gather_object(gathered, (totals, counts))
        streams = sorted({stream for _, own in gathered for stream in own})
        return {
            stream: StreamLoss(sum(own[stream] for own, _ in gathered), sum(own[stream] for _, own in gathered))
            for stream in streams
        }

    def _as_many_as_others(self, parts: list[LmMicroBatch]) -> list[LmMicroBatch]:
        """Unequal numbers of micro-batches would leave ranks waiting for each other."""
        most = torch.tensor(len(parts), device=self.engine.device)
        dist.all_reduce(most, op=dist.ReduceOp.MAX)
        return [part or empty() for part, _ in zip_longest(parts, range(int(most)))]

    def _summed(self, values: Sequence[float]) -> Tensor:
        """Over all ranks, [values]."""
        sums = torch.tensor(values, dtype=torch.float64, device=self.engine.device)
        dist.all_reduce(sums)
        return sums


def _sizes(model: PreTrainedModel) -> tuple[int, int]:
    """Weights that every token is multiplied with, and those of the head, which only learned tokens meet."""
    embeddings = {id(p) for p in (model.get_input_embeddings().weight, model.lm_head.weight)}
    body = sum(prod(whole_shape(p)) for p in model.parameters() if id(p) not in embeddings)
    return body, prod(whole_shape(model.lm_head.weight))


def _peak_flops(dtype: torch.dtype, device: torch.device) -> float:
    """Operations a second of square matrix products, by all ranks at the same time: what `flops_share` is a share of.

    Of the fastest product: the first ones set the library up and fault memory in, by which a mean came out at 19 to 210 GFLOP/s
    on two cores that do 243 in float32.
    """
    a, b = (torch.randn(_PEAK_SIZE, _PEAK_SIZE, device=device).to(dtype) for _ in range(2))
    a @ b
    dist.barrier()
    least, until = float("inf"), time.perf_counter() + _PEAK_SECONDS
    while time.perf_counter() < until:
        began = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize()
        least = min(least, time.perf_counter() - began)
    rate = torch.tensor(2 * _PEAK_SIZE**3 / least, dtype=torch.float64, device=device)
    dist.all_reduce(rate)
    return float(rate)


def _use_liger(model: PreTrainedModel) -> None:
    """Fused norms, rotary positions and activations; head and loss are ours."""
    from liger_kernel.transformers import _apply_liger_kernel_to_instance

    _apply_liger_kernel_to_instance(model, cross_entropy=False, fused_linear_cross_entropy=False)
