"""What a supervised stage makes of its corpora, as functions from table to table, and the digest of all that it depends on."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
from transformers import PreTrainedTokenizerBase

from tower_rl.config.schema import Data
from tower_rl.config.stages import CptStage, SftStage
from tower_rl.data.corpus.groups import Pairs
from tower_rl.data.corpus.instructions.convert import as_text
from tower_rl.data.corpus.readers import dispatch
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.corpus.tokenizing import tokenize
from tower_rl.files import sha256
from tower_rl.models.load import load_tokenizer

VERSION = 2
"""Raised when the same configuration and files come to make other packs."""

Make = Callable[[pa.Table], pa.Table]


def parts(data: Data) -> list[Part[Any]]:
    """What can be read by itself, in the order of the corpora. Raises DataError for a corpus that is not there."""
    return [part for name, corpus in data.corpora.items() for part in dispatch.files(name, corpus)]


def pairs(data: Data, seed: int) -> Pairs:
    """What becomes of the pairs."""
    return Pairs(data.parallel, seed)


def make(stage: CptStage | SftStage, model: Path) -> list[Make]:
    """From clean rows without pairs (RECORDS) to tokens (TOKENS): for cpt all to texts, then the model's tokens."""
    texts = [as_text] if isinstance(stage, CptStage) else []
    learn = "assistant" if isinstance(stage, SftStage) else "all"
    return [*texts, _Tokenize(model, learn, stage.sequence_length, stage.held_out)]


def alone(data: Data, stage: CptStage | SftStage, seed: int, model: Path) -> list[Make]:
    """From clean rows (RECORDS) to tokens (TOKENS), each by itself: nothing is pivoted or joined, and no terms are known."""
    return [pairs(data, seed).instruct({}), *make(stage, model)]


def digest(data: Data, stage: CptStage | SftStage, seed: int, model: Path, read: Sequence[Part[Any]]) -> str:
    """Of all that packs depend on: files, their order, configuration, tokenizer, and the version of this code."""
    told = {
        "version": VERSION,
        "corpora": {name: corpus.model_dump(mode="json") for name, corpus in data.corpora.items()},
        "content": dispatch.digest(read),
        "cleaning": data.cleaning.model_dump(mode="json"),
        "parallel": data.parallel.model_dump(mode="json"),
        "stage": [stage.kind, stage.sequence_length, stage.held_out],
        "seed": seed,
        "tokenizer": {path.name: sha256(path) for path in _tokenizer_files(model)},
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:16]


def _tokenizer_files(model: Path) -> list[Path]:
    names = ("tokenizer*", "*.jinja", "special_tokens_map.json", "added_tokens.json", "vocab.json", "merges.txt")
    return sorted({path for name in names for path in model.glob(name)})


@dataclass(frozen=True)
class _Tokenize:
    """Carries the folder, not the tokenizer, to the workers."""

    model: Path
    learn: Any
    sequence_length: int
    held_out: float

    def __call__(self, table: pa.Table) -> pa.Table:
        tokenizer = _tokenizer(self.model)
        return tokenize(table, tokenizer, self.learn, sequence_length=self.sequence_length, held_out=self.held_out)


@lru_cache(maxsize=1)
def _tokenizer(model: Path) -> PreTrainedTokenizerBase:
    return load_tokenizer(model)
