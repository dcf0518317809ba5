"""The chunked heads against log_softmax, forward and backward."""

from math import log

import numpy as np
import pytest
import torch
from helpers import Largest

from tower_rl.losses.logprobs import AlignedHead, LogprobHead


@pytest.mark.parametrize("softcap", [None, 2.0])
@pytest.mark.parametrize("chunk", [1, 3, 8, 100])
def test_values_and_gradients_do_not_depend_on_the_chunk(chunk, softcap):
    torch.manual_seed(0)
    hidden, weight = torch.randn(8, 5, requires_grad=True), torch.nn.Parameter(torch.randn(11, 5))
    targets, upstream = torch.randint(11, (8,)), torch.randn(8)
    logits = hidden @ weight.T
    logits = (logits if softcap is None else softcap * torch.tanh(logits / softcap)) / 0.7
    expected = torch.log_softmax(logits, -1).gather(1, targets[:, None])[:, 0]
    wanted = torch.autograd.grad((expected * upstream).sum(), (hidden, weight))

    logprobs, entropies = LogprobHead(weight, chunk, softcap)(hidden, targets, 0.7)
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


def random_case(tokens, width=6, vocabulary=11, dtype=torch.float32):
    torch.manual_seed(2)
    hidden = torch.randn(tokens, width).to(dtype).requires_grad_()
    return hidden, torch.nn.Parameter(torch.randn(vocabulary, width).to(dtype)), torch.randint(vocabulary, (tokens,))


def plain(hidden, weight, targets, softcap):
    """[M] log p, log sum p^2, max log p, from all the logits in float64."""
    logits = (hidden @ weight.T).double()
    logprobs = torch.log_softmax(logits if softcap is None else softcap * torch.tanh(logits / softcap), -1)
    return logprobs.gather(1, targets[:, None])[:, 0], logprobs.exp().square().sum(-1).log(), logprobs.amax(-1)


@pytest.mark.parametrize("softcap", [None, 1.5])
@pytest.mark.parametrize("tokens, chunk", [(70, 1), (70, 7), (70, 33), (70, 70), (70, 1000), (1, 7), (0, 7)])
def test_alignments_and_gradients_do_not_depend_on_the_chunk(tokens, chunk, softcap):
    hidden, weight, targets = random_case(tokens)
    upstream = torch.randn(tokens)
    expected = plain(hidden, weight, targets, softcap)
    wanted = torch.autograd.grad((expected[0] * upstream).sum(), (hidden, weight))
    answers = AlignedHead(weight, chunk, softcap)(hidden, targets)
    found = torch.autograd.grad((answers[0] * upstream).sum(), (hidden, weight))
    for a, b in zip((*answers, *found), (*expected, *wanted), strict=True):
        torch.testing.assert_close(a, b.to(a.dtype), atol=1e-5, rtol=1e-5)
    assert [each.requires_grad for each in answers] == [True, False, False]
    with torch.no_grad():
        assert all(torch.equal(a, b) for a, b in zip(AlignedHead(weight, chunk, softcap)(hidden, targets), answers, strict=True))


def test_both_heads_agree():
    hidden, weight, targets = random_case(40)
    torch.testing.assert_close(AlignedHead(weight, 9)(hidden, targets)[0], LogprobHead(weight, 9)(hidden, targets, 1.0)[0])


def test_alignments_by_hand():
    """Probabilities 1/2, 1/4, 1/4: two samples agree with 3/8. Nothing overflows where logits are far apart."""
    weight = torch.nn.Parameter(torch.tensor([[2.0, 1e30, 1.0], [1.0, 1e-30, 1.0], [1.0, 1e-30, 1.0]]).log())
    answers = AlignedHead(weight, 2)(torch.eye(3, requires_grad=True), torch.tensor([1, 1, 2]))
    apart = log(1e30) - log(1e-30)
    expected = [[log(1 / 4), -apart, log(1 / 3)], [log(3 / 8), 0.0, log(1 / 3)], [log(1 / 2), 0.0, log(1 / 3)]]
    torch.testing.assert_close(torch.stack(answers), torch.tensor(expected))


def test_finite_differences_under_the_cap():
    hidden, weight, targets = random_case(4, 3, 7)
    head = AlignedHead(weight, 3, 2.0)
    step = 1e-2 * torch.randn(4, 3)
    with torch.no_grad():
        ahead, behind = (head(hidden + sign * step, targets)[0].sum().double() for sign in (1, -1))
    (gradient,) = torch.autograd.grad(head(hidden, targets)[0].sum(), hidden)
    assert float((gradient * step).sum()) == pytest.approx(float(ahead - behind) / 2, rel=1e-3)


def test_bfloat16_is_as_near_as_its_rounding():
    hidden, weight, targets = random_case(300, width=64, vocabulary=50, dtype=torch.bfloat16)
    exact = [each.detach().float().requires_grad_() for each in (hidden, weight)]
    expected = plain(*exact, targets, None)
    wanted = torch.autograd.grad(expected[0].sum(), exact)
    answers = AlignedHead(weight, 7)(hidden, targets)
    for a, b in zip(answers, expected, strict=True):
        torch.testing.assert_close(a, b.float(), atol=0.2, rtol=0)
    for a, b in zip(torch.autograd.grad(answers[0].sum(), (hidden, weight)), wanted, strict=True):
        assert a.dtype == torch.bfloat16
        assert (a.float() - b).norm() < 0.01 * b.norm()


class Products(torch.utils._python_dispatch.TorchDispatchMode):
    """Counts matrix products."""

    count = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.count += func.overloadpacket in (torch.ops.aten.mm, torch.ops.aten.addmm_, torch.ops.aten.matmul)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(
    "learned, expected",
    [((True, True), 4), ((True, False), 3), ((False, True), 3), ((False, False), 1)],
)
def test_alignments_cost_no_matrix_product(learned, expected):
    """A chunk takes four, one less for frozen states or a frozen head and one less if it is the last; without gradients one."""
    hidden, weight, targets = random_case(20)
    hidden.requires_grad_(learned[0])
    weight.requires_grad_(learned[1])
    for call in (lambda: AlignedHead(weight, 10)(hidden, targets), lambda: LogprobHead(weight, 10)(hidden, targets, 1.0)):
        with Products() as products:
            logprobs, *_ = call()
            if any(learned):
                logprobs.sum().backward()
        assert products.count == 2 * expected - any(learned)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("tokens, expected", [(7, 3), (5, 3), (8, 7), (21, 11)])
def test_the_last_chunks_logits_are_made_once(tokens, expected, dtype):
    """They stand from the forward to the backward pass, which begins with them; a second one makes them again."""
    hidden, weight, targets = random_case(tokens, dtype=dtype)
    with Products() as products:
        logprobs = LogprobHead(weight, 7)(hidden, targets, 0.7)[0].sum()
        first = torch.autograd.grad(logprobs, (hidden, weight), retain_graph=True)
    assert products.count == expected
    second = torch.autograd.grad(logprobs, (hidden, weight))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def peak_bytes(call):
    """Most bytes that torch held at once of what it took during the call, temporaries inside its operations included."""
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        call()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    return max(np.cumsum([event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]))


@pytest.mark.parametrize(
    "tokens, dtype, softcap",
    [
        (100, torch.float32, 30.0),
        (100, torch.bfloat16, None),
        (100, torch.bfloat16, 30.0),
        pytest.param(2048, torch.bfloat16, 30.0, marks=pytest.mark.slow),
    ],
)
def test_peak_memory_on_a_large_vocabulary(tokens, dtype, softcap):
    """Less than three times a chunk's logits in float32 stand beside the gradients, however many tokens there are."""
    width, vocabulary, chunk = 4, 262_144, 64
    hidden, weight, targets = random_case(tokens, width, vocabulary, dtype)
    taken = peak_bytes(lambda: AlignedHead(weight, chunk, softcap)(hidden, targets)[0].sum().backward())
    gradients = hidden.nbytes + 4 * weight.numel() + 2 * weight.nbytes
    assert taken < 3 * chunk * vocabulary * 4 + gradients
