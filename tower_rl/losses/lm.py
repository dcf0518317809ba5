"""Cross-entropy of given tokens without ever holding [tokens, vocabulary], for a loss that is a sum.

The gradient of a sum is known as soon as the logits are, so the forward pass computes both and makes the logits once: three
matrix products of the head's size instead of the four that computing them again in the backward pass takes
(cf. the fused linear cross-entropy of Liger, arXiv:2410.10989).
"""

from typing import Any

import torch
from torch import Tensor, nn

from tower_rl.losses.rows import add_product, at_once, capped


class LmHead(nn.Module):
    """A language-model head that answers losses instead of logits.

    It holds the head's own parameter, so ZeRO-3 gathers that once for the whole forward pass.
    """

    def __init__(self, weight: nn.Parameter, chunk: int, softcap: float | None = None) -> None:
        """A head without bias.

        Args:
            weight: [V, D], tied or not.
            chunk: tokens whose logits stand in memory at once.
            softcap: logits z become softcap * tanh(z / softcap) (Gemma 2, arXiv:2408.00118, section 2).
        """
        super().__init__()
        self.weight = weight
        self.chunk = chunk
        self.softcap = softcap

    def forward(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Score tokens.

        Args:
            hidden: [M, D] states that predict the targets; M may be 0.
            targets: [M] token ids.

        Returns:
            [] float32 sum of -log p, with gradient, and [M] its summands, without.
        """
        if torch.is_grad_enabled():
            total, losses = _ChunkedCrossEntropy.apply(hidden, self.weight, targets, self.chunk, self.softcap)
            return total, losses
        parts = zip(hidden.split(self.chunk), targets.split(self.chunk), strict=True)
        losses = torch.cat([_losses(part @ self.weight.T, wanted, self.softcap) for part, wanted in parts])
        return losses.sum(), losses


class _ChunkedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        losses = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # chunks add up in float32
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        buffer = weight.new_empty(min(chunk, len(hidden)), len(weight))
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = torch.mm(hidden[part], weight.T, out=buffer[: len(hidden[part])])
            losses[part] = _losses_and_gradients(logits, targets[part], softcap)
            if grad_hidden is not None:
                grad_hidden[part] = logits @ weight
            if grad_weight is not None:
                add_product(grad_weight, logits.T, hidden[part])
        ctx.save_for_backward(grad_hidden, grad_weight)
        ctx.dtype = weight.dtype
        ctx.mark_non_differentiable(losses)
        return losses.sum(), losses

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = ctx.saved_tensors
        scale = grads[0]
        return (
            None if grad_hidden is None else grad_hidden * scale,
            None if grad_weight is None else (grad_weight * scale).to(ctx.dtype),
            *(None,) * 3,
        )


def _losses(logits: Tensor, targets: Tensor, softcap: float | None) -> Tensor:
    """[m] losses of [m, V] logits."""
    losses = []
    for rows, wanted in at_once(logits, targets):
        scores, _ = capped(rows, softcap)
        losses.append((scores.logsumexp(-1, keepdim=True) - scores.gather(1, wanted))[:, 0])
    return torch.cat(losses)


def _losses_and_gradients(logits: Tensor, targets: Tensor, softcap: float | None) -> Tensor:
    """[m] losses of [m, V] logits, which are overwritten by the gradients: softmax - onehot, times the slope of the cap."""
    losses = []
    for rows, wanted in at_once(logits, targets):
        scores, slope = capped(rows, softcap)
        normalizer = scores.logsumexp(-1, keepdim=True)
        losses.append((normalizer - scores.gather(1, wanted))[:, 0])
        scores = scores.sub_(normalizer).exp_()
        scores.scatter_add_(1, wanted, torch.full_like(normalizer, -1.0))
        rows.copy_(scores if slope is None else scores.mul_(slope))
    return torch.cat(losses)
