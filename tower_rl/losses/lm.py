"""Cross-entropy of a language model without ever holding [tokens, vocabulary] for more than a chunk of tokens."""

from typing import Any

import torch
from torch import Tensor, nn


class LmHead(nn.Module):
    """A language-model head that answers the sum of token losses instead of logits.

    It holds the head's own parameter, so ZeRO-3 gathers that once for the whole forward.
    """

    def __init__(self, weight: nn.Parameter, chunk: int, softcap: float | None = None) -> None:
        """Takes over the head's weight.

        Args:
            weight: [V, D].
            chunk: tokens whose logits stand in memory at once.
            softcap: logits z become softcap * tanh(z / softcap) (Gemma 2, arXiv:2408.00118, section 2).
        """
        super().__init__()
        self.weight = weight
        self.chunk = chunk
        self.softcap = softcap

    def forward(self, hidden: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Negative log-probabilities.

        Args:
            hidden: [M, D] states that predict the targets.
            targets: [M] token ids.

        Returns:
            Their float32 sum, with gradient, and [M] float32 of each, without.
        """
        # A function of autograd is told that a parameter needs a gradient even where none is recorded (validation).
        weight = self.weight if torch.is_grad_enabled() else self.weight.detach()
        total, each = _CrossEntropy.apply(hidden, weight, targets, self.chunk, self.softcap)
        return total, each


class _CrossEntropy(torch.autograd.Function):
    """The gradient of a sum needs nothing from the backward pass but a factor, so it is computed with the logits at hand:
    three matrix products of the head's size instead of four."""

    @staticmethod
    def forward(
        ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, chunk: int, softcap: float | None
    ) -> tuple[Tensor, Tensor]:
        needs_hidden, needs_weight = ctx.needs_input_grad[:2]
        each = torch.empty(len(hidden), dtype=torch.float32, device=hidden.device)
        grad_hidden = torch.empty_like(hidden) if needs_hidden else None
        # Chunks add up in float32.
        grad_weight = torch.zeros_like(weight, dtype=torch.float32) if needs_weight else None
        for start in range(0, len(hidden), chunk):
            part = slice(start, min(start + chunk, len(hidden)))
            logits = (hidden[part] @ weight.T).float()
            if softcap is not None:
                logits = logits.div_(softcap).tanh_().mul_(softcap)
            slope = None if softcap is None else 1 - (logits / softcap) ** 2
            normalizers = logits.logsumexp(-1)
            each[part] = normalizers - logits.gather(1, targets[part, None])[:, 0]
            if not (needs_hidden or needs_weight):
                continue
            # d loss / d logits = softmax - onehot(target)
            grad = logits.sub_(normalizers[:, None]).exp_()
            grad.scatter_add_(1, targets[part, None], grad.new_full((len(grad), 1), -1.0))
            grad = (grad if slope is None else grad.mul_(slope)).to(hidden.dtype)
            if grad_hidden is not None:
                torch.mm(grad, weight, out=grad_hidden[part])
            if grad_weight is not None:
                grad_weight += grad.T @ hidden[part]
        ctx.save_for_backward(grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype))
        ctx.mark_non_differentiable(each)
        return each.sum(), each

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        grad_hidden, grad_weight = (None if saved is None else saved * grads[0].to(saved.dtype) for saved in ctx.saved_tensors)
        return grad_hidden, grad_weight, None, None, None
