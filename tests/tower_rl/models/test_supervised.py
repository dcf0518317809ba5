"""Ranks of supervised training against each other and against plain torch."""

from collections import defaultdict

import numpy as np
import pytest
import torch
from helpers import plain_document_losses, plain_model, run_ranks, supervised_packs
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

from tower_rl.config.schema import Lora
from tower_rl.lm_batching import joined
from tower_rl.models.adapters import inject
from tower_rl.models.load import load_model
from tower_rl.models.supervised import PackedDocuments

pytestmark = pytest.mark.ranks
FACTS = {"loss", "tokens", "trained"}
CASES = ["zero0-1-0", "large-1-0", "again-1-0", *(f"zero{s}-2-{r}" for s in range(4) for r in range(2)), "idle-2-0", "idle-2-1"]
SCRIPT = "supervised_ranks.py"


@pytest.fixture(scope="module")
def trained(tiny_model, tmp_path_factory):
    """What one rank and two ranks found."""
    output = tmp_path_factory.mktemp("supervised")
    for world in (1, 2):
        run_ranks(SCRIPT, world, tiny_model, output)
    return output


@pytest.fixture(scope="module")
def plain(tiny_model):
    """Loss and gradients, and one step, by torch alone, document by document."""
    model = plain_model(tiny_model)
    loss = torch.cat([plain_document_losses(model, pack) for pack in supervised_packs()]).mean()
    loss.backward()
    grads = {name: p.grad.numpy().copy() for name, p in model.named_parameters()}
    torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5)
    torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0).step()
    return loss.item(), grads, model


@pytest.mark.parametrize(
    "case",
    ["zero0-1-0", "large-1-0", "again-1-0", *(f"zero{s}-2-{r}" for s in range(4) for r in range(2)), "idle-2-0", "idle-2-1"],
)
def test_loss_and_gradients_are_those_of_plain_torch(trained, plain, case):
    """However documents are packed, split and shared out, also if one rank has none."""
    loss, grads, _ = plain
    found = np.load(trained / f"{case}.npz")
    packs = supervised_packs()
    assert (found["tokens"], found["trained"]) == (sum(p.tokens for p in packs), sum(p.trained.sum() for p in packs))
    assert np.isclose(found["loss"], loss, atol=1e-5)
    assert set(found.files) - FACTS == set(grads)
    for name, gradient in grads.items():
        np.testing.assert_allclose(found[name], gradient, atol=1e-5, err_msg=name)
        assert np.abs(gradient).max() > 1e-4, f"{name}: a gradient of zero proves nothing"


@pytest.mark.parametrize("export", ["zero0-1", "large-1", "again-1", *(f"zero{stage}-2" for stage in range(4)), "idle-2"])
def test_one_step_moves_the_weights_as_plain_torch_does(trained, plain, export):
    stepped = AutoModelForCausalLM.from_pretrained(trained / export, dtype=torch.float32)
    for (name, expected), found in zip(plain[2].named_parameters(), stepped.parameters(), strict=True):
        # Adam divides by the gradient's own size, so where that is tiny the sign of rounding decides
        assert ((expected - found).abs() < 1e-5).float().mean() > 0.995, name


@pytest.mark.parametrize("case", ["evaluate-1-0", "evaluate-2-0", "evaluate-2-1"])
def test_validation_by_stream_is_a_loop(trained, tiny_model, case):
    model, expected = plain_model(tiny_model), defaultdict(lambda: np.zeros(2))
    for pack in supervised_packs():
        losses = plain_document_losses(model, pack).detach().double()
        expected[pack.stream] += [float(losses.sum()), len(losses)]
    found = np.load(trained / f"{case}.npz")
    assert set(found.files) == set(expected)
    for stream, (total, tokens) in expected.items():
        assert found[stream][1] == tokens
        assert np.isclose(found[stream][0], total, atol=1e-3), stream


@pytest.mark.parametrize("case", ["plain-1", "half-1", "lora1-1", "lora3-1", "lora3-2"])
def test_training_goes_on_from_a_checkpoint_bit_by_bit(trained, case):
    found = np.load(trained / f"resume-{case}-0.npz")
    names = [name.removeprefix("straight/") for name in found.files if name.startswith("straight/")]
    assert [n for n in names if not np.array_equal(found[f"straight/{n}"], found[f"resumed/{n}"])] == []
    a, b = (load_file(trained / f"{kind}-{case}" / "model-00001.safetensors") for kind in ("straight", "resumed"))
    assert a.keys() == b.keys()
    assert all(torch.equal(a[n], b[n]) for n in a)


@pytest.mark.parametrize("case", ["lora-1-0", "lora-again-1-0"])
def test_adapters_alone_are_trained(trained, case):
    found = np.load(trained / f"{case}.npz")
    assert {name.split(".")[-3] for name in set(found.files) - FACTS} == {"lora_A", "lora_B"}
    assert all(np.abs(found[name]).max() > 1e-4 for name in found.files if "lora_B" in name)


def test_recomputing_changes_no_gradient_of_adapters(trained):
    one, two = (np.load(trained / f"{case}-1-0.npz") for case in ("lora", "lora-again"))
    for name in set(one.files) - FACTS:
        np.testing.assert_allclose(one[name], two[name], atol=1e-6, err_msg=name)


@pytest.mark.parametrize("case", ["lora3-1", "lora3-2"])
def test_an_export_is_the_adapted_model(trained, tiny_model, case):
    """Plain transformers gives the logits of the base model with the adapters beside its weights (W x + s B A x)."""
    exported = AutoModelForCausalLM.from_pretrained(trained / f"straight-{case}", dtype=torch.float32)
    base = plain_model(tiny_model)
    ids = torch.arange(3, 40)[None]
    with torch.no_grad():
        before = base(ids).logits
        add_adapters(base, np.load(trained / f"resume-{case}-0.npz"), scale=8.0 / 4)
        expected, found = base(ids).logits, exported(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-4, rtol=0)
    assert (expected - before).abs().max() > 1e-2
    assert AutoTokenizer.from_pretrained(trained / f"straight-{case}").chat_template


def add_adapters(model, weights, scale):
    """Hooks that add to each linear layer's output what its adapter says."""
    downs = [name for name in weights.files if name.startswith("straight/") and "lora_A" in name]
    assert downs
    for name in downs:
        down, up = (torch.from_numpy(weights[n]) for n in (name, name.replace("lora_A", "lora_B")))
        layer = model.get_submodule(name.removeprefix("straight/").partition(".lora_A")[0])
        layer.register_forward_hook(lambda _, args, out, down=down, up=up: out + scale * (args[0] @ down.T) @ up.T)


@pytest.mark.parametrize("lora", [None, Lora(rank=4)])
def test_every_layer_is_recomputed(tiny_model, lora):
    """Also the first, whose input needs no gradient where adapters alone are trained."""
    model = load_model(tiny_model, "float32")
    module = PackedDocuments(model, chunk=7)
    if lora is not None:
        inject(model, lora)
    model.gradient_checkpointing_enable()
    model.train()
    calls = []
    for i, layer in enumerate(model.model.layers):
        layer.self_attn.register_forward_hook(lambda *_, i=i: calls.append(i))
    loss, _ = module(joined(supervised_packs()))
    assert calls == [0, 1]
    loss.backward()
    assert calls == [0, 1, 1, 0]


def test_golden_curve(trained, tiny_model):
    """Ten steps on one batch: pinned, and those of plain torch."""
    found = np.load(trained / "curve-1-0.npz")
    assert (np.diff(found["loss"]) < 0).all()
    np.testing.assert_allclose(found["loss"], GOLDEN, atol=5e-3)
    model = plain_model(tiny_model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for loss, norm in zip(found["loss"], found["norm"], strict=True):
        optimizer.zero_grad()
        expected = torch.cat([plain_document_losses(model, pack) for pack in supervised_packs()]).mean()
        expected.backward()
        assert np.isclose(torch.nn.utils.clip_grad_norm_(model.parameters(), 0.5).item(), norm, rtol=5e-3)
        assert np.isclose(expected.item(), loss, atol=5e-3)
        optimizer.step()


GOLDEN = [6.2906, 5.8642, 5.5777, 5.3262, 5.0890, 4.8715, 4.6583, 4.4579, 4.2657, 4.0840]
