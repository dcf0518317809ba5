"""Adapters of ranks in preference optimization and reinforcement learning."""

import numpy as np
import pytest
import torch
from helpers import plain_model, run_ranks
from preference_cases import random_pairs
from safetensors.torch import load_file

from tower_rl.models.load import load_model
from tower_rl.models.packed import PackedPolicy, score
from tower_rl.pair_batching import pair_batches

pytestmark = pytest.mark.ranks
CASES = [(stage, world) for stage in (1, 3) for world in (1, 2)]


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    output = tmp_path_factory.mktemp("adapters")
    for world in (1, 2):
        run_ranks("adapter_ranks.py", world, tiny_model, output)
    return output


def scores(model, world, rank):
    """By a model without adapters, of a rank's micro-batches."""
    policy, batch = PackedPolicy(model, 7), pair_batches(random_pairs(), ranks=world, budget=60)[rank]
    return [score(policy, micro_batch, batch.temperature) for micro_batch in batch.micro_batches]


@pytest.mark.parametrize(("stage", "world"), CASES)
def test_without_adapters_the_policy_is_the_reference(trained, tiny_model, stage, world):
    for rank in range(world):
        found = np.load(trained / f"{stage}-{world}-{rank}.npz")
        for i, expected in enumerate(scores(load_model(tiny_model, "float32"), world, rank)):
            np.testing.assert_allclose(found[f"off/{i}"], expected, atol=1e-5)
            assert np.abs(found[f"on/{i}"] - expected).max() > 1e-2, "the adapters must have learned"


@pytest.mark.parametrize(("stage", "world"), CASES)
def test_merged_weights_say_what_the_adapters_say(trained, tiny_model, stage, world):
    for rank in range(world):
        merged, model = load_file(trained / f"{stage}-{world}-{rank}.safetensors"), plain_model(tiny_model)
        assert merged.keys() == dict(model.named_parameters()).keys()
        model.load_state_dict(merged, strict=False)
        found = np.load(trained / f"{stage}-{world}-{rank}.npz")
        for i, expected in enumerate(scores(model, world, rank)):
            np.testing.assert_allclose(found[f"on/{i}"], expected, atol=1e-4)


@pytest.mark.parametrize(("stage", "world"), CASES)
def test_asking_the_reference_changes_no_training(trained, stage, world):
    assert all(np.load(trained / f"{stage}-{world}-{rank}.npz")["same"] for rank in range(world))


def test_two_ranks_learn_what_one_does(trained):
    for stage in (1, 3):
        one, two = (load_file(trained / f"{stage}-{world}-0.safetensors") for world in (1, 2))
        assert all(torch.allclose(one[name], two[name], atol=2e-3) for name in one)
