"""The chunked head against torch's own cross-entropy, forward and backward."""

import pytest
import torch
from helpers import Largest
from torch.nn.functional import cross_entropy

from tower_rl.losses.lm import LmHead


def random_case(tokens, width=6, vocabulary=11, dtype=torch.float32):
    torch.manual_seed(0)
    hidden = torch.randn(tokens, width).to(dtype).requires_grad_()
    return hidden, torch.nn.Parameter(torch.randn(vocabulary, width).to(dtype)), torch.randint(vocabulary, (tokens,))


def plain_losses(hidden, weight, targets, softcap):
    logits = (hidden @ weight.T).float()
    return cross_entropy(logits if softcap is None else softcap * torch.tanh(logits / softcap), targets, reduction="none")


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("tokens, chunk", [(20, 1), (20, 7), (20, 20), (20, 100), (1, 7), (0, 7)])
def test_values_and_gradients_are_those_of_cross_entropy(tokens, chunk, softcap):
    hidden, weight, targets = random_case(tokens)
    expected = plain_losses(hidden, weight, targets, softcap)
    wanted = torch.autograd.grad(0.3 * expected.sum(), (hidden, weight))
    total, each = LmHead(weight, chunk, softcap)(hidden, targets)
    found = torch.autograd.grad(0.3 * total, (hidden, weight))
    torch.testing.assert_close(each, expected.detach(), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(total, expected.sum(), atol=1e-5, rtol=1e-5)
    assert not each.requires_grad
    with torch.no_grad():
        alone, each_alone = LmHead(weight, chunk, softcap)(hidden, targets)
    assert torch.equal(alone, total) and torch.equal(each_alone, each)
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-5)


def test_a_target_may_be_far_and_logits_huge():
    hidden, weight = torch.tensor([[200.0], [-200.0]], requires_grad=True), torch.nn.Parameter(torch.tensor([[1.0], [-1.0]]))
    total, each = LmHead(weight, 1)(hidden, torch.tensor([0, 0]))
    assert each.tolist() == [0.0, 400.0]
    assert torch.autograd.grad(total, hidden)[0].tolist() == [[0.0], [-2.0]]


def test_a_frozen_head_gets_no_gradient_and_passes_one_on():
    hidden, weight, targets = random_case(9)
    (wanted,) = torch.autograd.grad(plain_losses(hidden, weight, targets, None).sum(), hidden)
    weight.requires_grad_(False)
    total, _ = LmHead(weight, 4)(hidden, targets)
    total.backward()
    torch.testing.assert_close(hidden.grad, wanted)
    assert weight.grad is None


def test_frozen_states_pass_none_on():
    hidden, weight, targets = random_case(9)
    (wanted,) = torch.autograd.grad(plain_losses(hidden, weight, targets, None).sum(), weight)
    total, _ = LmHead(weight, 4)(hidden.detach(), targets)
    total.backward()
    torch.testing.assert_close(weight.grad, wanted)


def test_bfloat16_is_as_near_as_its_rounding():
    """Losses and gradients from rounded logits; the head's gradient adds its chunks up in float32."""
    hidden, weight, targets = random_case(300, width=64, vocabulary=50, dtype=torch.bfloat16)
    exact_hidden, exact_weight = hidden.detach().float().requires_grad_(), weight.detach().float().requires_grad_()
    expected = plain_losses(exact_hidden, exact_weight, targets, None)
    wanted = torch.autograd.grad(expected.sum(), (exact_hidden, exact_weight))
    total, each = LmHead(weight, 1)(hidden, targets)
    found = torch.autograd.grad(total, (hidden, weight))
    torch.testing.assert_close(each, expected.detach(), atol=0.2, rtol=0)
    for a, b in zip(found, wanted, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.float() - b).norm() < 0.01 * b.norm()


def test_logits_never_stand_whole():
    tokens, vocabulary, chunk = 400, 3000, 10
    hidden, weight, targets = random_case(tokens, 4, vocabulary)
    with Largest() as largest:
        total, _ = LmHead(weight, chunk)(hidden, targets)
        total.backward()
    assert largest.elements <= chunk * vocabulary


def test_without_gradients_there_is_one_product_a_chunk():
    """Validation must not pay for the gradients that the forward pass of training computes."""

    class Products(torch.utils._python_dispatch.TorchDispatchMode):
        count = 0

        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            self.count += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm, torch.ops.aten.matmul)
            return func(*args, **(kwargs or {}))

    hidden, weight, targets = random_case(20)
    with torch.no_grad(), Products() as products:
        total, each = LmHead(weight, 10)(hidden.detach(), targets)
    assert products.count == 2
    assert not total.requires_grad
    torch.testing.assert_close(each, plain_losses(hidden, weight, targets, None).detach())
