"""The chunked cross-entropy against torch's own."""

import pytest
import torch
from torch.nn.functional import cross_entropy
from torch.utils._python_dispatch import TorchDispatchMode

from tower_rl.losses.lm import LmHead


def plain(hidden, weight, targets, softcap):
    logits = (hidden @ weight.T).float()
    logits = logits if softcap is None else softcap * torch.tanh(logits / softcap)
    return cross_entropy(logits, targets, reduction="none")


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("chunk", [1, 7, 20, 100])
def test_values_and_gradients_are_those_of_cross_entropy(chunk, softcap):
    torch.manual_seed(0)
    hidden, weight = torch.randn(50, 5, requires_grad=True), torch.nn.Parameter(torch.randn(11, 5))
    targets = torch.randint(11, (50,))
    expected = plain(hidden, weight, targets, softcap)
    wanted = torch.autograd.grad(expected.sum() * 0.3, (hidden, weight))

    total, losses = LmHead(weight, chunk, softcap)(hidden, targets)
    found = torch.autograd.grad(total * 0.3, (hidden, weight))
    torch.testing.assert_close(losses, expected, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(total, expected.sum(), atol=1e-5, rtol=1e-5)
    assert not losses.requires_grad
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_bfloat16_is_as_near_to_float32_as_rounding_allows():
    torch.manual_seed(1)
    hidden, weight = torch.randn(300, 32), torch.randn(97, 32) / 4
    targets = torch.randint(97, (300,))
    exact = hidden.requires_grad_(), weight.requires_grad_()
    expected = plain(*exact, targets, None)
    wanted = torch.autograd.grad(expected.sum(), exact)

    rounded = hidden.detach().bfloat16().requires_grad_()
    head = LmHead(torch.nn.Parameter(weight.detach().bfloat16()), 16)
    total, losses = head(rounded, targets)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, expected, atol=0.05, rtol=0.02)
    for a, b in zip(torch.autograd.grad(total, (rounded, head.weight)), wanted, strict=True):
        assert a.dtype == torch.bfloat16
        assert ((a.float() - b).norm() / b.norm()) < 0.01


def test_no_tokens_are_a_loss_of_zero_with_gradients():
    hidden, weight = torch.randn(0, 3, requires_grad=True), torch.nn.Parameter(torch.randn(7, 3))
    total, losses = LmHead(weight, 4)(hidden, torch.zeros(0, dtype=torch.int64))
    total.backward()
    assert total.item() == 0
    assert losses.shape == (0,)
    assert torch.equal(weight.grad, torch.zeros(7, 3))


def test_a_frozen_head_and_validation_compute_no_gradient_of_the_weight():
    weight = torch.nn.Parameter(torch.randn(3000, 4), requires_grad=False)
    head, hidden, targets = LmHead(weight, 10), torch.randn(40, 4, requires_grad=True), torch.arange(40)
    with Sizes() as sizes:
        head(hidden, targets)[0].backward()
    assert sizes.products == {(10, 3000): 4, (10, 4): 4}
    with torch.no_grad(), Sizes() as sizes:
        head(hidden, targets)
    assert sizes.products == {(10, 3000): 4}


def test_logits_never_stand_whole_and_are_made_once():
    tokens, width, vocabulary, chunk = 400, 4, 3000, 10
    hidden, weight = torch.randn(tokens, width, requires_grad=True), torch.nn.Parameter(torch.randn(vocabulary, width))
    with Sizes() as sizes:
        LmHead(weight, chunk)(hidden, torch.randint(vocabulary, (tokens,)))[0].backward()
    assert sizes.largest <= chunk * vocabulary
    assert sizes.products == {(10, 3000): 40, (10, 4): 40, (3000, 4): 40}


class Sizes(TorchDispatchMode):
    """Elements of the largest tensor that is made, and how many matrix products have which shape."""

    def __init__(self):
        super().__init__()
        self.largest, self.products = 0, {}

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor):
                self.largest = max(self.largest, value.numel())
        if func is torch.ops.aten.mm.default:
            self.products[tuple(result.shape)] = self.products.get(tuple(result.shape), 0) + 1
        return result
