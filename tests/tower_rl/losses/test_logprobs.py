"""The chunked head against log_softmax, forward and backward."""

import pytest
import torch
from helpers import Largest

from tower_rl.losses.logprobs import LogprobHead


@pytest.mark.parametrize("chunk", [1, 3, 8, 100])
def test_values_and_gradients_do_not_depend_on_the_chunk(chunk):
    torch.manual_seed(0)
    hidden, weight = torch.randn(8, 5, requires_grad=True), torch.nn.Parameter(torch.randn(11, 5))
    targets, upstream = torch.randint(11, (8,)), torch.randn(8)
    logits = hidden @ weight.T / 0.7
    expected = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
    wanted = torch.autograd.grad((expected * upstream).sum(), (hidden, weight))

    logprobs, entropies = LogprobHead(weight, chunk)(hidden, targets, 0.7)
    found = torch.autograd.grad((logprobs * upstream).sum(), (hidden, weight))
    torch.testing.assert_close(logprobs, expected)
    torch.testing.assert_close(entropies, torch.distributions.Categorical(logits=logits).entropy())
    for a, b in zip(found, wanted, strict=True):
        torch.testing.assert_close(a, b)


def test_gradcheck():
    torch.manual_seed(1)
    hidden = torch.randn(4, 3, requires_grad=True)
    weight = torch.nn.Parameter(torch.randn(7, 3))
    head, targets = LogprobHead(weight, 3), torch.randint(7, (4,))
    assert torch.autograd.gradcheck(lambda h: head(h, targets, 1.3)[0], (hidden,), eps=1e-3, atol=1e-2, rtol=1e-2)


def test_logits_never_stand_whole():
    """No tensor of [tokens, vocabulary] elements is made: the largest allocation is one chunk's, or the head's gradient."""
    tokens, width, vocabulary, chunk = 400, 4, 3000, 10
    hidden, weight = torch.randn(tokens, width, requires_grad=True), torch.nn.Parameter(torch.randn(vocabulary, width))
    with Largest() as largest:
        logprobs, _ = LogprobHead(weight, chunk)(hidden, torch.randint(vocabulary, (tokens,)), 1.0)
        logprobs.sum().backward()
    assert largest.elements <= chunk * vocabulary
