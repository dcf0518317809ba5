"""The forward pass that training uses: packed tokens in, log-probabilities of the response tokens out."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tower_rl.losses.logprobs import AlignedHead, LogprobHead
from tower_rl.models.attention import ATTENTION
from tower_rl.models.layout import documents
from tower_rl.status import tracked
from tower_rl.types import Batch, Floats, MicroBatch


class PackedPolicy(nn.Module):
    """A causal language model that scores the response tokens of a micro-batch, whose responses share their prompts."""

    def __init__(self, model: PreTrainedModel, chunk: int, head: type[LogprobHead | AlignedHead] = LogprobHead) -> None:
        """Takes over `model`, whose attention and head are replaced.

        Args:
            model: a causal language model without bias in its head.
            chunk: response tokens whose logits stand in memory at once.
            head: says what is answered beside log-probabilities.
        """
        super().__init__()
        model.set_attn_implementation(ATTENTION)
        model.lm_head = head(model.lm_head.weight, chunk, getattr(model.config, "final_logit_softcapping", None))
        self.model = model

    def forward(self, micro_batch: MicroBatch, temperature: float) -> tuple[Tensor, ...]:
        """What the head answers, [M] float32 each: log-probabilities with gradient first, the others without."""
        device = self.model.device
        output = self.model.model(
            input_ids=tensor(micro_batch.token_ids, device)[None],
            position_ids=tensor(micro_batch.position_ids, device)[None],
            attention_mask=None,
            use_cache=False,
            documents=documents(micro_batch.offsets, device, micro_batch.prefixes),
        )
        hidden = output.last_hidden_state[0, tensor(micro_batch.predictors, device)]
        answer: tuple[Tensor, ...] = self.model.lm_head(hidden, tensor(micro_batch.targets, device), temperature)
        return answer


def tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A copy of an array, integers as int64: arrays that come through Ray are read-only, which tensors cannot be."""
    return torch.tensor(array, device=device, dtype=torch.int64 if array.dtype.kind == "i" else None)


def scatter(values: Tensor, micro_batch: MicroBatch) -> Tensor:
    """[M] values to [B, T], 0 where there is no response token; keeps the gradient."""
    places = tensor(micro_batch.rows, values.device), tensor(micro_batch.columns, values.device)
    return values.new_zeros(micro_batch.mask.shape).index_put(places, values)


@torch.no_grad()
def score(policy: nn.Module, micro_batch: MicroBatch, temperature: float) -> Floats:
    """[B, T] log-probabilities, 0 where there is no response token."""
    logprobs, *_ = policy(micro_batch, temperature)
    return scatter(logprobs, micro_batch).cpu().numpy().astype(np.float32)


def score_all(policy: nn.Module, batch: Batch, work: str) -> list[Floats]:
    """[B, T] log-probabilities of each micro-batch of a batch, at its temperature; `work` is reported with each."""
    return [score(policy, each, batch.temperature) for each in tracked(work, "micro-batch", batch.micro_batches)]
