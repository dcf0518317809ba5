"""The forward pass that training uses: packed tokens in, log-probabilities of the response tokens out."""

from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tower_rl.batching import visible
from tower_rl.losses.logprobs import LogprobHead
from tower_rl.types import Floats, MicroBatch


class PackedPolicy(nn.Module):
    """A causal language model that scores the response tokens of a micro-batch.

    sdpa does not isolate the responses of a row by their positions alone, so an explicit mask says who sees whom.
    """

    def __init__(self, model: PreTrainedModel, chunk: int) -> None:
        """Takes over `model`, whose head is replaced by one that never makes all logits.

        Args:
            model: a causal language model without bias in its head.
            chunk: response tokens whose logits stand in memory at once.
        """
        super().__init__()
        model.lm_head = LogprobHead(model.lm_head.weight, chunk)
        self.model = model

    def forward(self, micro_batch: MicroBatch, temperature: float) -> tuple[Tensor, Tensor]:
        """[M] log-probabilities with gradient, and [M] entropies without, both float32."""
        device = self.model.device
        output = self.model.model(
            input_ids=tensor(micro_batch.token_ids, device),
            position_ids=tensor(micro_batch.position_ids, device),
            attention_mask=tensor(visible(micro_batch.branches), device)[:, None],
            use_cache=False,
        )
        hidden = output.last_hidden_state.flatten(0, 1)[tensor(micro_batch.predictors, device)]
        return self.model.lm_head(hidden, tensor(micro_batch.targets, device), temperature)


def tensor(array: npt.NDArray[Any], device: torch.device) -> Tensor:
    """A copy of an array: those that come through Ray are read-only, which tensors cannot be."""
    return torch.tensor(array, device=device)


def scatter(values: Tensor, micro_batch: MicroBatch) -> Tensor:
    """[M] values to [B, T], 0 where there is no response token; keeps the gradient."""
    places = tensor(micro_batch.rows, values.device), tensor(micro_batch.columns, values.device)
    return values.new_zeros(micro_batch.mask.shape).index_put(places, values)


@torch.no_grad()
def score(policy: nn.Module, micro_batch: MicroBatch, temperature: float) -> Floats:
    """[B, T] log-probabilities, 0 where there is no response token."""
    logprobs, _ = policy(micro_batch, temperature)
    return scatter(logprobs, micro_batch).cpu().numpy().astype(np.float32)
