"""The packed forward pass against one plain pass a sequence."""

from collections import Counter

import numpy as np
import pytest
import torch
from helpers import FAMILIES, family_models, plain_logprobs, plain_model, prompt, random_groups, rollout

from tower_rl.batching import assemble
from tower_rl.models.attention import BLOCK
from tower_rl.models.load import load_model
from tower_rl.models.packed import PackedPolicy, score
from tower_rl.types import Group


@pytest.mark.parametrize("family", ["tiny_model", "tiny_qwen2"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_packed_equals_plain(family, temperature, request):
    folder = request.getfixturevalue(family)
    groups, advantages = random_groups(1, (3, 1, 4))
    (batch,) = assemble(groups, advantages, ranks=1, budget=80, temperature=temperature)
    policy, plain = PackedPolicy(load_model(folder, "float32"), chunk=5), plain_model(folder)
    assert any((m.prefixes < 0).sum() > 1 and max(Counter(m.prefixes[m.prefixes >= 0]).values()) > 1 for m in batch.micro_batches)
    rollouts = [(g, r) for g in groups for r in g.rollouts]
    for micro_batch in batch.micro_batches:
        found = score(policy, micro_batch, temperature)
        for i, number in enumerate(micro_batch.rollout_ids):
            expected = plain_logprobs(plain, *rollouts[number], temperature).detach().numpy()
            np.testing.assert_allclose(found[i][micro_batch.mask[i]], expected, atol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_each_family_packs_beyond_blocks_and_windows(family):
    """Log-probabilities, entropies and gradients, with the prompt and its responses longer than a block or a window."""
    copy, plain = family_models(family)
    policy, rng = PackedPolicy(copy, chunk=50), np.random.default_rng(0)
    groups = [
        Group(prompt(rng.integers(3, 512, shared), i), tuple(rollout(rng.integers(3, 512, n), np.zeros(n)) for n in lengths))
        for i, (shared, lengths) in enumerate([(BLOCK + 20, (BLOCK + 70, 40, 1)), (55, (52, 3))])
    ]
    (batch,) = assemble(groups, [np.ones(3), np.ones(2)], ranks=1, budget=9999, temperature=0.7)
    found, entropies = policy(batch.micro_batches[0], 0.7)
    expected, wanted_entropies = [], []
    for group in groups:
        for each in group.rollouts:
            ids, first = torch.tensor([[*group.prompt.token_ids, *each.token_ids]]), len(group.prompt.token_ids)
            distribution = torch.distributions.Categorical(logits=plain(input_ids=ids).logits[0, first - 1 : -1] / 0.7)
            expected.append(distribution.log_prob(ids[0, first:]))
            wanted_entropies.append(distribution.entropy())
    torch.testing.assert_close(found, torch.cat(expected), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(entropies, torch.cat(wanted_entropies), atol=1e-4, rtol=1e-4)
    found.sum().backward()
    torch.cat(expected).sum().backward()
    wanted = dict(plain.named_parameters())
    for name, parameter in policy.model.named_parameters():
        scale = wanted[name].grad.abs().max()
        assert scale > 1e-3, f"{name}: a gradient of zero proves nothing"
        torch.testing.assert_close(parameter.grad / scale, wanted[name].grad / scale, atol=1e-4, rtol=0, msg=name)


def test_entropy_is_that_of_the_whole_distribution(tiny_model):
    groups, advantages = random_groups(2, (1,))
    (batch,) = assemble(groups, advantages, ranks=1, budget=80, temperature=0.5)
    _, entropies = PackedPolicy(load_model(tiny_model, "float32"), chunk=3)(batch.micro_batches[0], 0.5)
    ids = torch.tensor([[*groups[0].prompt.token_ids, *groups[0].rollouts[0].token_ids]])
    logits = plain_model(tiny_model)(ids).logits[0, len(groups[0].prompt.token_ids) - 1 : -1] / 0.5
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(entropies, expected, atol=1e-4, rtol=0)
