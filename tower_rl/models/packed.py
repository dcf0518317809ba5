"""The forward pass that training uses: packed tokens in, log-probabilities of the response tokens out."""

import numpy as np
import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tower_rl.batching import visible
from tower_rl.losses.logprobs import LogprobHead
from tower_rl.types import Floats, MicroBatch


class PackedPolicy(nn.Module):
    """A causal language model that scores the response tokens of a micro-batch.

    sdpa does not isolate packed documents by their positions alone, so an explicit mask says who sees whom.
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
        mask = torch.from_numpy(visible(micro_batch.documents, micro_batch.branches)).to(device)
        output = self.model.model(
            input_ids=torch.from_numpy(micro_batch.token_ids).to(device)[None],
            position_ids=torch.from_numpy(micro_batch.position_ids).to(device)[None],
            attention_mask=mask[None, None],
            use_cache=False,
        )
        predictors = torch.from_numpy(micro_batch.predictors).to(device)
        targets = torch.from_numpy(micro_batch.targets).to(device)
        return self.model.lm_head(output.last_hidden_state[0, predictors], targets, temperature)


def scatter(values: Tensor, micro_batch: MicroBatch) -> Tensor:
    """[M] values to [B, T], 0 where there is no response token; keeps the gradient."""
    rows, columns = torch.from_numpy(micro_batch.rows), torch.from_numpy(micro_batch.columns)
    padded = values.new_zeros(micro_batch.mask.shape)
    return padded.index_put((rows.to(values.device), columns.to(values.device)), values)


@torch.no_grad()
def score(policy: nn.Module, micro_batch: MicroBatch, temperature: float) -> Floats:
    """[B, T] log-probabilities, 0 where there is no response token."""
    logprobs, _ = policy(micro_batch, temperature)
    return scatter(logprobs, micro_batch).cpu().numpy().astype(np.float32)
