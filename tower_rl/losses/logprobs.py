"""Log-probabilities of given tokens without ever holding [tokens, vocabulary] in float32."""

from typing import Any

import torch
from torch import Tensor, nn


class LogprobHead(nn.Module):
    """A language-model head that answers log-probabilities and entropies instead of logits.

    It holds the head's own parameter, so ZeRO-3 gathers that once for the whole forward and once for the backward.
    """

    def __init__(self, weight: nn.Parameter, chunk: int) -> None:
        super().__init__()
        self.weight = weight
        self.chunk = chunk

    def forward(self, hidden: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Score tokens.

        Args:
            hidden: [M, D] states that predict the targets.
            targets: [M] token ids.
            temperature: logits are divided by it.

        Returns:
            [M] float32 log-probabilities, and [M] float32 entropies in nats (without gradient).
        """
        logprobs, entropies = _ChunkedLogprob.apply(hidden, self.weight, targets, temperature, self.chunk)
        return logprobs, entropies


class _ChunkedLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, temperature: float, chunk: int
    ) -> tuple[Tensor, Tensor]:
        logprobs = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        normalizers, entropies = torch.empty_like(logprobs), torch.empty_like(logprobs)
        for part in _parts(len(hidden), chunk):
            logits = _logits(hidden[part], weight, temperature)
            normalizers[part] = logits.logsumexp(-1)
            logprobs[part] = logits.gather(1, targets[part, None])[:, 0] - normalizers[part]
            probabilities = torch.sub(logits, normalizers[part, None]).exp_()
            entropies[part] = normalizers[part] - (probabilities[:, None] @ logits[:, :, None])[:, 0, 0]
        ctx.save_for_backward(hidden, weight, targets, normalizers)
        ctx.temperature, ctx.chunk = temperature, chunk
        ctx.mark_non_differentiable(entropies)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, normalizers = ctx.saved_tensors
        parts = _parts(len(hidden), ctx.chunk)
        # Several chunks add up in float32; a single one needs no sum.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32 if len(parts) > 1 else weight.dtype)
        grad_hidden = torch.empty_like(hidden)
        for part in parts:
            # d logprob / d logits = onehot(target) - softmax
            scale = grads[0][part, None] / ctx.temperature
            grad = _logits(hidden[part], weight, ctx.temperature).sub_(normalizers[part, None]).exp_().mul_(-scale)
            grad = grad.scatter_add_(1, targets[part, None], scale).to(hidden.dtype)
            grad_hidden[part] = grad @ weight
            grad_weight += grad.T @ hidden[part]
        return grad_hidden, grad_weight.to(weight.dtype), None, None, None


def _parts(total: int, chunk: int) -> list[slice]:
    return [slice(start, min(start + chunk, total)) for start in range(0, total, chunk)]


def _logits(hidden: Tensor, weight: Tensor, temperature: float) -> Tensor:
    logits = (hidden @ weight.T).float()
    return logits if temperature == 1.0 else logits.div_(temperature)
