"""Every method on packed rows: gradients as by plain torch and verl on a padded batch; and DeepSpeed ranks train with all."""

import json

import numpy as np
import pytest
import torch
from helpers import plain_logprobs, plain_model, random_groups, run_ranks
from policy_cases import COMBINATIONS, stage, verl_loss

from tower_rl.batching import assemble
from tower_rl.config.methods import ADVANTAGES, LOSSES
from tower_rl.losses.policy import Denominators, Objective, policy_loss
from tower_rl.models.load import load_model
from tower_rl.models.packed import PackedPolicy, scatter

RANKS = 2
WATCHED = ("model.embed_tokens.weight", "model.layers.0.self_attn.q_proj.weight")


@pytest.fixture(scope="module")
def padded(tiny_model):
    """The model, and what verl's losses take, [B, T], from one plain forward pass a rollout; the graph is kept."""
    model = plain_model(tiny_model)
    groups, advantages = random_groups(0, (3, 2, 4))
    rollouts = [(g, r, a) for g, values in zip(groups, advantages, strict=True) for r, a in zip(g.rollouts, values, strict=True)]

    def rows(values):
        return torch.nn.utils.rnn.pad_sequence(list(values), batch_first=True)

    new = rows(plain_logprobs(model, g, r) for g, r, _ in rollouts)
    old = rows(torch.from_numpy(r.logprobs) for _, r, _ in rollouts)
    values = rows(torch.full((len(r.token_ids),), float(a)) for _, r, a in rollouts)
    mask = rows(torch.ones(len(r.token_ids), dtype=torch.bool) for _, r, _ in rollouts)
    return model, (new, old, None, values, mask)


@pytest.fixture(scope="module")
def packed(tiny_model):
    """The model, the batch of each rank, and for each micro-batch what our loss takes; the graph is kept."""
    policy = PackedPolicy(load_model(tiny_model, "float32"), 7)
    groups, advantages = random_groups(0, (3, 2, 4))
    batches = assemble(groups, advantages, ranks=RANKS, budget=24, temperature=1.0)
    sizes = [[int(m.mask.sum()) for m in b.micro_batches] for b in batches]
    assert sizes[0] != sizes[1] and len(sizes[0]) == len(sizes[1]) > 1 and 0 in sizes[1], "the split must be uneven"
    inputs = [
        (scatter(policy(m, 1.0)[0], m), torch.from_numpy(m.old_logprobs), None, *map(torch.from_numpy, (m.advantages, m.mask)))
        for b in batches
        for m in b.micro_batches
    ]
    return policy.model, batches[0], inputs


def gradients(loss, model):
    parameters = dict(model.named_parameters())
    return torch.autograd.grad(loss, [parameters[name] for name in WATCHED], retain_graph=True)


@pytest.mark.parametrize(("loss", "aggregation"), COMBINATIONS)
def test_packed_and_split_over_ranks_equals_one_padded_batch(padded, packed, loss, aggregation):
    about = stage(loss, aggregation)
    wanted = verl_loss(about, *padded[1])
    model, batch, inputs = packed
    over = Denominators(RANKS, batch.global_tokens, batch.global_rollouts)
    found = sum(policy_loss(Objective.of(about), over, *values)[0] for values in inputs) / RANKS
    assert found.item() == pytest.approx(wanted.item(), rel=1e-4, abs=1e-5)
    for mine, theirs in zip(gradients(found, model), gradients(wanted, padded[0]), strict=True):
        largest = float(theirs.abs().max())
        assert largest > 1e-4, "a gradient of zero proves nothing"
        torch.testing.assert_close(mine, theirs, rtol=1e-3, atol=1e-4 * largest)


@pytest.mark.ranks
def test_every_accepted_name_trains_two_steps(tiny_model, tmp_path):
    run_ranks("method_ranks.py", RANKS, tiny_model, tmp_path)
    results = json.loads((tmp_path / "steps-0.json").read_text())
    assert {r["advantage"] for r in results} == ADVANTAGES.keys() and {r["loss"] for r in results} == LOSSES.keys()
    for result in results:
        assert len(result["steps"]) == 2
        for step in result["steps"]:
            assert np.isfinite(step["loss"]) and np.isfinite(step["grad_norm"]) and step["grad_norm"] > 1e-4, result
            assert step["moved"] == step["of"], result
