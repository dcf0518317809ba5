"""Low-rank adapters (LoRA, arXiv:2106.09685) through peft, and their place in the names and values of weights."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn
from transformers import PreTrainedModel

from tower_rl.config.schema import Lora

_MARK, _BASE = ".lora_", ".base_layer"


def inject(model: PreTrainedModel, lora: Lora) -> None:
    """Put adapters beside all linear layers of the model; nothing else is trained any more. The head must be none of them."""
    config = LoraConfig(r=lora.rank, lora_alpha=lora.alpha, target_modules=_linear_layers(model), bias="none")  # type: ignore[arg-type]
    inject_adapter_in_model(config, model)


@contextmanager
def adapters_off(model: nn.Module) -> Iterator[None]:
    """Context in which the model computes as if it had no adapters."""
    layers = [module for module in model.modules() if isinstance(module, BaseTunerLayer)]
    for layer in layers:
        layer.enable_adapters(enabled=False)
    try:
        yield
    finally:
        for layer in layers:
            layer.enable_adapters(enabled=True)


def is_adapter(name: str) -> bool:
    """Whether a parameter of this name belongs to an adapter."""
    return _MARK in name


def plain_name(name: str) -> str:
    """The name that a parameter has without adapters."""
    return name.replace(_BASE, "")


def adapters_of(name: str, model: nn.Module) -> list[str]:
    """Names of the adapter's two factors, of a weight that has one."""
    if not name.endswith(f"{_BASE}.weight"):
        return []
    layer = name.removesuffix(f"{_BASE}.weight")
    found = [other for other, _ in model.get_submodule(layer).named_parameters() if is_adapter(f".{other}")]
    return [f"{layer}.{other}" for other in sorted(found)]  # A before B


def merged(tensors: Sequence[Tensor], lora: Lora | None) -> Tensor:
    """The weight alone, or W + alpha / rank * B A of [W, A, B], computed in float32."""
    weight, *factors = (tensor.detach() for tensor in tensors)
    if not factors:
        return weight
    assert lora is not None
    down, up = (factor.float() for factor in factors)
    return (weight.float() + lora.alpha / lora.rank * (up @ down)).to(weight.dtype)


def _linear_layers(model: PreTrainedModel) -> list[str]:
    return [name for name, module in model.named_modules() if isinstance(module, nn.Linear)]
