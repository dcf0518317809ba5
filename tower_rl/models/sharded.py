"""Loading for ZeRO-3: every rank holds its part of the weights from the start, and beside it one whole tensor at a time.

The model is made on the meta device. Then the first rank reads tensor by tensor, and deepspeed.zero.Init leaves each rank its
part. Transformers' own way under ZeRO-3 reads the whole checkpoint on every rank first (from_pretrained under HfDeepSpeedConfig).
"""

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.accelerator import get_accelerator
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, GenerationConfig, PreTrainedModel

from tower_rl.config.schema import Policy
from tower_rl.models.load import FAMILIES, ModelError, check_family, load_model

_SINGLE, _INDEX = "model.safetensors", "model.safetensors.index.json"
_SHOWN = 5


def load_for(policy: Policy, folder: Path, dtype: str, families: Collection[str] = FAMILIES) -> PreTrainedModel:
    """The model of a rank: partitioned at ZeRO stage 3, whole below."""
    return load_sharded(folder, dtype, families) if policy.zero_stage == 3 else load_model(folder, dtype, families)


def load_sharded(folder: Path, dtype: str, families: Collection[str] = FAMILIES) -> PreTrainedModel:
    """What `load_model` gives, partitioned over the ranks and on the accelerator. A collective; the process group stands.

    Raises:
        ModelError: on all ranks, when the family is none of `families`, or tensors are missing, too many, of another shape or
            not to be read.
    """
    check_family(folder, families)
    model = _without_weights(folder, dtype)
    files = _agreed_files(model, folder)
    held = _holders(model)
    for name, weight in list(model.named_parameters()):
        tensor = _read(files[name], name).to(weight.dtype) if files else torch.empty_like(weight, device="cpu")
        part = nn.Parameter(tensor, weight.requires_grad)
        deepspeed.zero.Init(module=nn.ParameterList([part]), dtype=weight.dtype)  # takes the first rank's
        for module, attribute in held[weight]:
            setattr(module, attribute, part)
    return model.to(get_accelerator().current_device_name()).eval()


def whole_shape(parameter: Any) -> tuple[int, ...]:
    """The shape of a parameter that may be partitioned."""
    return tuple(getattr(parameter, "ds_shape", parameter.shape))


def _without_weights(folder: Path, dtype: str) -> PreTrainedModel:
    """Parameters on the meta device; buffers, which no file holds, made as from_pretrained makes them, on the CPU."""
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    config.dtype = getattr(torch, dtype)
    with torch.device("meta"):
        model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=config.dtype, attn_implementation="sdpa")
    for module in model.modules():
        for name, buffer in list(module.named_buffers(recurse=False)):
            setattr(module, name, torch.empty_like(buffer, device="cpu"))
    model.init_weights()  # fills the buffers: on parameters without storage it has no effect
    if (folder / "generation_config.json").is_file():
        model.generation_config = GenerationConfig.from_pretrained(folder, local_files_only=True)
    return model


def _holders(model: nn.Module) -> dict[nn.Parameter, list[tuple[nn.Module, str]]]:
    """Modules that hold a parameter, and as what: more than one hold a tied one."""
    held: dict[nn.Parameter, list[tuple[nn.Module, str]]] = {}
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            held.setdefault(parameter, []).append((module, name))
    return held


def _agreed_files(model: PreTrainedModel, folder: Path) -> dict[str, Path]:
    """The file of each parameter, on the first rank; the others get nothing. All raise what the first finds wrong."""
    files: dict[str, Path] = {}
    found = [""]
    if dist.get_rank() == 0:
        try:
            files, found[0] = _matched(model, folder)
        except (OSError, ValueError, KeyError, SafetensorError) as error:
            found[0] = f"cannot be loaded: {error}"
    dist.broadcast_object_list(found)
    if found[0]:
        raise ModelError(f"the weights in {folder} {found[0]}")
    return files


def _matched(model: PreTrainedModel, folder: Path) -> tuple[dict[str, Path], str]:
    """The file of each tensor, and what is wrong with them, or nothing. Reads headers, and whatever is stored beside its tie."""
    files: dict[str, Path] = {}
    shapes: dict[str, tuple[int, ...]] = {}
    for path in _paths(folder):
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # noqa: SIM118
                files[name], shapes[name] = path, tuple(file.get_slice(name).get_shape())
    wanted = {name: tuple(weight.shape) for name, weight in model.named_parameters()}
    ties = {tied: name for tied, name in model.all_tied_weights_keys.items() if tied in files and name in files}
    computed = {name for name in files if name.endswith("rotary_emb.inv_freq")}  # stored by old versions of transformers
    faults = {
        "lack": wanted.keys() - files,
        "have no place for": files.keys() - wanted.keys() - ties.keys() - computed,
        "have another shape than the model for": {name for name in wanted.keys() & files if wanted[name] != shapes[name]},
        "tie what differs:": {a for a, b in ties.items() if not torch.equal(_read(files[a], a), _read(files[b], b))},
    }
    return files, "; ".join(f"{fault} {', '.join(sorted(names)[:_SHOWN])}" for fault, names in faults.items() if names)


def _paths(folder: Path) -> list[Path]:
    """The safetensors files of a model: one, or those that its index names."""
    if (folder / _SINGLE).is_file():
        return [folder / _SINGLE]
    index = json.loads((folder / _INDEX).read_bytes())
    return [folder / name for name in sorted(set(index["weight_map"].values()))]


def _read(path: Path, name: str) -> Tensor:
    """A tensor; the file is opened for it alone, or all that was ever read would stay mapped."""
    with safe_open(path, framework="pt") as file:
        tensor: Tensor = file.get_tensor(name)
    return tensor
