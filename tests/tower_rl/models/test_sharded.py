"""Loading for ZeRO-3 gives what from_pretrained gives, and no rank ever holds the whole model."""

import json
import shutil

import numpy as np
import pytest
import torch
from helpers import FAMILIES, SIZES, family_models, random_groups, run_ranks
from safetensors.torch import load_file, save_file
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from tower_rl.batching import assemble
from tower_rl.dealing import collect
from tower_rl.models.load import load_model
from tower_rl.models.packed import PackedPolicy, score

pytestmark = pytest.mark.ranks
SHARD = 300_000
LAYER = "model.layers.1.mlp.up_proj.weight"
BAD = {
    "missing": (lambda t: t.pop(LAYER), f"lack {LAYER}"),
    "surplus": (lambda t: t.update({"model.layers.7.x": torch.ones(2)}), "have no place for model.layers.7.x"),
    "shape": (lambda t: t.update({LAYER: torch.ones(3, 4)}), f"have another shape than the model for {LAYER}"),
    "untied": (lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"] + 1}), "tie what differs: lm_head.weight"),
    "several": (lambda t: t.update({"x": t.pop(LAYER), "y": torch.ones(1)}), f"lack {LAYER}; have no place for x, y"),
}
LARGE = {"hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 12, "head_dim": 64, "num_attention_heads": 8}


@pytest.fixture(scope="module")
def folders(tiny_model, tmp_path_factory):
    base = tmp_path_factory.mktemp("sharded")
    for name in FAMILIES:
        model, _ = family_models(name)
        model.save_pretrained(base / "good" / name.replace(" ", "-").replace(",", ""), max_shard_size="40KB")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        untied = LlamaForCausalLM(LlamaConfig(**SIZES, tie_word_embeddings=False))
        large = LlamaForCausalLM(LlamaConfig(**SIZES | LARGE))
    untied.generation_config = GenerationConfig(eos_token_id=[2, 7], temperature=0.5, do_sample=True)
    untied.save_pretrained(base / "good" / "untied")
    large.save_pretrained(base / "large")
    (base / "elements").write_text(str(sum(p.numel() for p in large.parameters())))
    tied = shutil.copytree(tiny_model, base / "good" / "tied-in-file")
    spoil(tied, lambda t: t.update({"lm_head.weight": t["model.embed_tokens.weight"].clone()}))
    for name, (change, _) in BAD.items():
        spoil(shutil.copytree(tiny_model, base / "bad" / name), change)
    for name, change in {
        "cut": lambda path: path.write_bytes(path.read_bytes()[:1000]),
        "none": lambda path: path.unlink(),
    }.items():
        change(shutil.copytree(tiny_model, base / "bad" / name) / "model.safetensors")
    return base


def spoil(folder, change):
    tensors = load_file(folder / "model.safetensors")
    change(tensors)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


@pytest.fixture(scope="module")
def found(folders, tmp_path_factory):
    output = tmp_path_factory.mktemp("found")
    run_ranks("sharded_ranks.py", 2, folders, output)
    ranks = [json.loads((output / f"{rank}.json").read_text()) for rank in range(2)]
    scores = [[*np.load(output / f"{rank}.npz").values()] for rank in range(2)]
    return [each | {"scores": own, "export": output / "export"} for each, own in zip(ranks, scores, strict=True)]


def test_it_gives_what_from_pretrained_gives(found):
    for each in found:
        assert len(each["good"]) == 2 * (len(FAMILIES) + 2)
        assert {name: odd for name, odd in each["good"].items() if odd} == {}


@pytest.mark.parametrize("name", BAD)
def test_all_ranks_say_what_is_wrong(folders, found, name):
    message = f"the weights in {folders / 'bad' / name} {BAD[name][1]}"
    assert [each["bad"][name] for each in found] == [message] * 2


@pytest.mark.parametrize("name", ["cut", "none"])
def test_all_ranks_say_that_files_cannot_be_read(folders, found, name):
    for each in found:
        assert each["bad"][name].startswith(f"the weights in {folders / 'bad' / name} cannot be loaded: ")


def test_no_rank_ever_holds_the_whole_model(folders, found):
    size = 4 * int((folders / "elements").read_text())
    assert size > 4 * 30e6
    for each in found:
        print("of the whole model:", each["parts"] / size, "and loaded whole:", each["whole"] / size)
        assert each["parts"] < 0.6 * size  # half, and one tensor of a layer
        assert each["whole"] > 1.2 * size


def test_weights_for_the_engines_stand_whole_layer_by_layer(folders, found):
    """Both ranks gather the same groups in the same order, or this would have hung."""
    size, layers = int((folders / "elements").read_text()), LARGE["num_hidden_layers"]
    first, second = (each["sent"] for each in found)
    assert first == second
    assert first["right"]
    assert [name for names in first["groups"] for name in names] == first["described"]
    layer_of = [{name.split(".layers.")[1].split(".")[0] for name in names if ".layers." in name} for names in first["groups"]]
    assert [of for of in layer_of if of] == [{str(layer)} for layer in range(layers)]
    assert first["largest"] < 2 * size / layers


def test_an_export_is_written_shard_by_shard(tiny_model, found):
    """A shard is closed by the layer that fills it."""
    folder, before = found[0]["export"], load_model(tiny_model, "float32")
    sizes = [sum(t.nbytes for t in load_file(path).values()) for path in sorted(folder.glob("*.safetensors"))]
    layer = sum(p.nbytes for p in before.model.layers[0].parameters())
    assert len(sizes) == 3
    assert all(SHARD < size < SHARD + layer for size in sizes[:-1])
    after = load_model(folder, "float32")
    assert all(torch.equal(a, b) for a, b in zip(after.parameters(), before.parameters(), strict=True))


def test_a_partitioned_reference_says_what_a_copy_says(tiny_model, found):
    batches = assemble(*random_groups(0, (3, 2, 4)), ranks=3, budget=60, temperature=0.7)
    policy = PackedPolicy(load_model(tiny_model, "float32"), 7)
    for batch, scores in zip(batches, collect(batches, [each["scores"] for each in found]), strict=True):
        for micro_batch, values in zip(batch.micro_batches, scores, strict=True):
            np.testing.assert_allclose(values, score(policy, micro_batch, 0.7), atol=1e-5)
