"""Log-probabilities of given tokens without ever holding [tokens, vocabulary] in float32."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from tower_rl.losses.rows import add_product, at_once, capped

Measure = Callable[[Tensor, Tensor], tuple[Tensor, ...]]
"""[m, V] scores (its own to overwrite) and [m, 1] targets to columns: log-probabilities, normalizers, whatever else."""


class _Head(nn.Module):
    """A language-model head that answers log-probabilities, and what else there is to say of them, instead of logits.

    It holds the head's own parameter, so ZeRO-3 gathers that once for the whole forward and once for the backward.
    """

    def __init__(self, weight: nn.Parameter, chunk: int, softcap: float | None = None) -> None:
        """A head without bias.

        Args:
            weight: [V, D], tied or not; frozen if it needs no gradient.
            chunk: tokens whose logits stand in memory at once.
            softcap: logits z become softcap * tanh(z / softcap) (Gemma 2, arXiv:2408.00118, section 2), before the temperature.
        """
        super().__init__()
        self.weight = weight
        self.chunk = chunk
        self.softcap = softcap

    def _measured(
        self, hidden: Tensor, targets: Tensor, temperature: float, measure: Measure, columns: int
    ) -> tuple[Tensor, ...]:
        """All columns of the measure but the normalizers."""
        scored: tuple[Tensor, ...] = _ChunkedLogprob.apply(
            hidden, self.weight, targets, self.chunk, temperature, self.softcap, measure, columns
        )
        return scored


class LogprobHead(_Head):
    """A head that answers log-probabilities and entropies."""

    def forward(self, hidden: Tensor, targets: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
        """Score tokens.

        Args:
            hidden: [M, D] states that predict the targets.
            targets: [M] token ids.
            temperature: logits are divided by it.

        Returns:
            [M] float32 log-probabilities, and [M] float32 entropies in nats (without gradient).
        """
        logprobs, entropies = self._measured(hidden, targets, temperature, _entropies, 3)
        return logprobs, entropies


class AlignedHead(_Head):
    """A language-model head that answers log-probabilities, and what the weights of WPO hold them against.

    All of them come from the same logits, made once forward and once more backward.
    """

    def forward(self, hidden: Tensor, targets: Tensor, temperature: float = 1.0) -> tuple[Tensor, Tensor, Tensor]:
        """Score tokens.

        Args:
            hidden: [M, D] states that predict the targets; M may be 0.
            targets: [M] token ids.
            temperature: logits are divided by it.

        Returns:
            [M] float32 log-probabilities with gradient; and, without, [M] log sum_v p(v)^2, the logarithm of the probability
            that two samples agree, and [M] max_v log p(v), the log-probability of the greedy token.
        """
        logprobs, sampled, greedy = self._measured(hidden, targets, temperature, _alignments, 4)
        return logprobs, sampled, greedy


class _ChunkedLogprob(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        hidden: Tensor,
        weight: Tensor,
        targets: Tensor,
        chunk: int,
        temperature: float,
        softcap: float | None,
        measure: Measure,
        columns: int,
    ) -> tuple[Tensor, ...]:
        # Made first: small results kept between large temporaries would leave holes in a CPU's heap that nothing fits again.
        answers = [torch.empty(len(hidden), dtype=torch.float32, device=hidden.device) for _ in range(columns)]
        # One for all chunks: each of its own would be memory that is faulted in anew.
        buffer = weight.new_empty(min(chunk, len(hidden)), len(weight))
        for start in range(0, len(hidden), chunk):
            part = slice(start, start + chunk)
            logits = torch.mm(hidden[part], weight.T, out=buffer[: len(hidden[part])])
            _write_measures(logits, targets[part], [answer[part] for answer in answers], temperature, softcap, measure)
        ctx.last = [buffer]  # the backward pass begins with the last chunk, whose logits it holds
        logprobs, normalizers, *others = answers
        ctx.save_for_backward(hidden, weight, targets, normalizers)
        ctx.chunk, ctx.temperature, ctx.softcap = chunk, temperature, softcap
        ctx.mark_non_differentiable(*others)
        return logprobs, *others

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        hidden, weight, targets, normalizers = ctx.saved_tensors
        grad_hidden = torch.empty_like(hidden) if ctx.needs_input_grad[0] else None
        # Several chunks add up in float32; a single one needs no sum.
        total = torch.float32 if len(hidden) > ctx.chunk else weight.dtype
        grad_weight = torch.zeros_like(weight, dtype=total) if ctx.needs_input_grad[1] else None
        made = bool(ctx.last)
        buffer = ctx.last.pop() if made else weight.new_empty(min(ctx.chunk, len(hidden)), len(weight))
        for start in reversed(range(0, len(hidden), ctx.chunk)):
            part = slice(start, start + ctx.chunk)
            logits = buffer[: len(hidden[part])]
            if not made:
                torch.mm(hidden[part], weight.T, out=logits)
            made = False
            scale = grads[0][part] / ctx.temperature
            _overwrite_by_gradients(logits, targets[part], normalizers[part], scale, ctx.temperature, ctx.softcap)
            if grad_hidden is not None:
                grad_hidden[part] = logits @ weight
            if grad_weight is not None:
                add_product(grad_weight, logits.T, hidden[part])
        return grad_hidden, None if grad_weight is None else grad_weight.to(weight.dtype), *(None,) * 6


def _write_measures(
    logits: Tensor, targets: Tensor, places: list[Tensor], temperature: float, softcap: float | None, measure: Measure
) -> None:
    for rows, wanted, *columns in at_once(logits, targets, *places):
        scores, _ = _scores(rows.to(torch.float32, copy=True), temperature, softcap)  # a measure overwrites them
        for column, values in zip(columns, measure(scores, wanted), strict=True):
            column.copy_(values)


def _overwrite_by_gradients(
    logits: Tensor, targets: Tensor, normalizers: Tensor, scale: Tensor, temperature: float, softcap: float | None
) -> None:
    """d logprob / d logits = onehot(target) - softmax, times the scale and the slope of the cap."""
    for rows, wanted, normalizer, factor in at_once(logits, targets, normalizers, scale):
        scores, slope = _scores(rows, temperature, softcap)
        gradients = scores.sub_(normalizer).exp_().mul_(-factor).scatter_add_(1, wanted, factor)
        rows.copy_(gradients if slope is None else gradients.mul_(slope))


def _scores(rows: Tensor, temperature: float, softcap: float | None) -> tuple[Tensor, Tensor | None]:
    """The rows in float32 at the temperature under the cap, and the cap's slope there."""
    scores, slope = capped(rows, softcap)
    return scores if temperature == 1.0 else scores.div_(temperature), slope


def _entropies(scores: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    normalizers = scores.logsumexp(-1, keepdim=True)
    probabilities = torch.sub(scores, normalizers).exp_()
    wanted = scores.gather(1, targets) - normalizers
    # a batched product of vectors took 5 ms for 16 rows of 49,152 in MKL's AVX2 kernels, where a pass takes 0.1 ms
    return wanted, normalizers, normalizers - probabilities.mul_(scores).sum(-1, keepdim=True)


def _alignments(scores: Tensor, targets: Tensor) -> tuple[Tensor, ...]:
    """log sum_v p(v)^2 = logsumexp(2z) - 2 logsumexp(z); both of powers that are made once, of which the largest is 1."""
    wanted, top = scores.gather(1, targets), scores.amax(-1, keepdim=True)
    powers = scores.sub_(top).exp_()
    total = powers.sum(-1, keepdim=True).log_()
    sampled = powers.square_().sum(-1, keepdim=True).log_() - 2 * total
    return wanted - top - total, top + total, sampled, -total
