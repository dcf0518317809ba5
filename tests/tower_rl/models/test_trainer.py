"""DeepSpeed ranks against each other and against plain torch."""

import numpy as np
import pytest
import torch
from helpers import plain_loss, plain_model, random_groups, run_ranks
from transformers import AutoModelForCausalLM, AutoTokenizer

pytestmark = pytest.mark.ranks
SIZES = (3, 2, 4)


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """What one rank and two ranks found, at each ZeRO stage."""
    output = tmp_path_factory.mktemp("ranks")
    run_ranks("ranks.py", 1, tiny_model, output, "0")
    run_ranks("ranks.py", 2, tiny_model, output, "0,1,2,3")
    return output


@pytest.fixture(scope="module")
def plain(tiny_model):
    """The same loss and gradients, and one step, by torch alone on unpacked sequences."""
    model = plain_model(tiny_model)
    groups, advantages = random_groups(0, SIZES)
    loss = plain_loss(model, groups, advantages, temperature=0.7)
    loss.backward()
    grads = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    torch.optim.AdamW(model.parameters(), lr=1e-3, betas=(0.9, 0.999), weight_decay=0.0).step()
    return loss.item(), grads, model


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_two_ranks_with_uneven_data_find_what_one_finds(trained, stage):
    one = np.load(trained / "grads-1-0-0.npz")
    two = [np.load(trained / f"grads-2-{stage}-{rank}.npz") for rank in range(2)]
    assert two[0]["micro_batches"] == two[1]["micro_batches"]
    assert two[0]["loss"] != two[1]["loss"], "the data of this test must be uneven"
    assert np.isclose(two[0]["loss"] + two[1]["loss"], one["loss"], atol=1e-5)
    for name in set(one.files) - {"loss", "micro_batches"}:
        np.testing.assert_allclose(two[0][name], one[name], atol=1e-5, err_msg=name)


@pytest.mark.parametrize("stage", [0, 3])
def test_two_ranks_correct_rollouts_as_one_does(trained, stage):
    one = np.load(trained / "corrected-1-0-0.npz")
    two = [np.load(trained / f"corrected-2-{stage}-{rank}.npz") for rank in range(2)]
    figures = {name for name in one.files if name.startswith("figure ")}
    assert {"figure correction/truncated", "figure correction/rejected", "figure mismatch/mean"} <= figures
    for name in figures:
        assert np.isclose(two[0][name] + two[1][name], one[name], atol=1e-4), name
        assert one[name] != 0 or name == "figure clip_share", f"{name}: what does not happen proves nothing"
    assert one["figure clip_share"] == 0, "before the first step the ratio of trainer to trainer is 1"
    for name in set(one.files) - figures:
        np.testing.assert_allclose(two[0][name], one[name], atol=1e-5, err_msg=name)
        assert np.abs(one[name]).max() > 1e-4, f"{name}: a gradient of zero proves nothing"


def test_gradients_are_those_of_plain_torch(trained, plain):
    loss, grads, _ = plain
    found = np.load(trained / "grads-1-0-0.npz")
    assert np.isclose(found["loss"], loss, atol=1e-5)
    for name, gradient in grads.items():
        np.testing.assert_allclose(found[name], gradient, atol=1e-5, err_msg=name)
        assert np.abs(gradient).max() > 1e-4, f"{name}: a gradient of zero proves nothing"


@pytest.mark.parametrize("export", ["export-1-0", "export-2-0", "export-2-1", "export-2-2", "export-2-3"])
def test_one_step_moves_the_weights_as_plain_torch_does(trained, plain, export):
    stepped = AutoModelForCausalLM.from_pretrained(trained / export, dtype=torch.float32)
    for (name, expected), found in zip(plain[2].named_parameters(), stepped.parameters(), strict=True):
        # Adam divides by the gradient's own size, so where that is tiny the sign of rounding decides
        close = (expected - found).abs() < 1e-5
        assert close.float().mean() > 0.995, name


def test_export_brings_the_tokenizer(trained):
    assert AutoTokenizer.from_pretrained(trained / "export-2-3").chat_template


@pytest.mark.parametrize("ranks", [1, 2])
@pytest.mark.parametrize(("dtype", "stage"), [("bfloat16", 1), ("float32", 1), ("float32", 2)])
def test_training_goes_on_from_a_checkpoint_bit_by_bit(trained, ranks, dtype, stage):
    for rank in range(ranks):
        same, total, size = (trained / f"resumed-{ranks}-{dtype}-{stage}-{rank}").read_text().split()
        assert same == total
        assert float(size) < 17, "bytes a parameter: weights, masters and two moments, none of which is there twice"


def test_sums_of_gradients_are_reduced_in_float32(trained):
    shares = [float((trained / f"rounded-{rank}").read_text()) for rank in range(2)]
    assert max(shares) < 0.5, "bfloat16 could hold nearly all of them"
