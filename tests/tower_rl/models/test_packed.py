"""The packed forward pass against one plain pass a sequence."""

import numpy as np
import pytest
import torch
from helpers import plain_logprobs, plain_model, random_groups

from tower_rl.batching import assemble
from tower_rl.models.load import load_model
from tower_rl.models.packed import PackedPolicy, score


@pytest.mark.parametrize("family", ["tiny_model", "tiny_qwen2"])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_packed_equals_plain(family, temperature, request):
    folder = request.getfixturevalue(family)
    groups, advantages = random_groups(1, (3, 1, 4))
    (batch,) = assemble(groups, advantages, ranks=1, budget=80, temperature=temperature)
    policy, plain = PackedPolicy(load_model(folder, "float32"), chunk=5), plain_model(folder)
    assert any(len(m.branches) > 1 and (m.branches < 0).any() for m in batch.micro_batches), "rows must be padded"
    rollouts = [(g, r) for g in groups for r in g.rollouts]
    for micro_batch in batch.micro_batches:
        found = score(policy, micro_batch, temperature)
        for i, number in enumerate(micro_batch.rollout_ids):
            expected = plain_logprobs(plain, *rollouts[number], temperature).detach().numpy()
            np.testing.assert_allclose(found[i][micro_batch.mask[i]], expected, atol=1e-4)


def test_entropy_is_that_of_the_whole_distribution(tiny_model):
    groups, advantages = random_groups(2, (1,))
    (batch,) = assemble(groups, advantages, ranks=1, budget=80, temperature=0.5)
    _, entropies = PackedPolicy(load_model(tiny_model, "float32"), chunk=3)(batch.micro_batches[0], 0.5)
    ids = torch.tensor([[*groups[0].prompt.token_ids, *groups[0].rollouts[0].token_ids]])
    logits = plain_model(tiny_model)(ids).logits[0, len(groups[0].prompt.token_ids) - 1 : -1] / 0.5
    expected = torch.distributions.Categorical(logits=logits).entropy()
    torch.testing.assert_close(entropies, expected, atol=1e-4, rtol=0)
