"""What the chunked heads share: some rows of a chunk's logits at once, in float32, under the model's cap."""

from collections.abc import Iterator

import torch
from torch import Tensor

ROWS = 16  # rows of a chunk whose softmax a CPU does at once: in float32 they stay in its cache


def at_once(logits: Tensor, *others: Tensor) -> Iterator[tuple[Tensor, ...]]:
    """Views of some rows of [m, V] logits, and what belongs to them of the others, [m] each, as columns."""
    count = ROWS if logits.device.type == "cpu" else len(logits)
    yield from zip(logits.split(count), *(each[:, None].split(count) for each in others), strict=True)


def capped(rows: Tensor, softcap: float | None) -> tuple[Tensor, Tensor | None]:
    """The rows in float32 under the cap, and the cap's slope there. Rows of float32 are overwritten."""
    scores = rows.float()
    if softcap is None:
        return scores, None
    scores = scores.div_(softcap).tanh_()
    slope = torch.square(scores).neg_().add_(1)
    return scores.mul_(softcap), slope


def add_product(total: Tensor, left: Tensor, right: Tensor) -> None:
    """Add a product, as large as the head's weight, to the float32 sum of such: in float32 without making it first."""
    if left.dtype == torch.float32:
        total.addmm_(left, right)
    else:
        total += left @ right
