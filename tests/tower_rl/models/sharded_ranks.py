"""One rank of the tests of loading for ZeRO-3, run as a process of its own: FOLDER OUTPUT, by helpers.run_ranks.

FOLDER has good/NAME, bad/NAME and large/; what was found is in OUTPUT/RANK.json and OUTPUT/RANK.npz.
"""

import ctypes
import gc
import json
import os
import sys
from pathlib import Path

import deepspeed
import numpy as np
import torch
from deepspeed.runtime.zero import GatheredParameters
from helpers import random_groups

from actors.weight_source import TrainerSource
from tower_rl.batching import assemble
from tower_rl.config.schema import Policy
from tower_rl.dealing import deal
from tower_rl.models.engine import join
from tower_rl.models.load import ModelError, load_model
from tower_rl.models.reference import ShardedReference
from tower_rl.models.sharded import load_sharded
from tower_rl.models.trainer import Trainer

SHARD = 300_000
M_MMAP_THRESHOLD = -3  # of mallopt(3)
RANK = int(os.environ["RANK"])


def facts(model) -> dict[str, object]:
    """All but the values of parameters, in which both ways of loading must agree."""
    return {
        "class": type(model).__name__,
        "config": model.config.to_json_string(use_diff=False),
        "generation": model.generation_config.to_json_string(use_diff=False),
        "training": [module.training for module in model.modules()],
        "parameters": [(n, str(p.dtype), p.requires_grad) for n, p in model.named_parameters(remove_duplicate=False)],
        "tied": model.lm_head.weight is model.model.embed_tokens.weight,
        "saved": [*model.state_dict()],
    }


def differences(folder: Path, dtype: str) -> list[str]:
    """What differs between a model that was loaded whole and one that was loaded in parts."""
    whole, parts = load_model(folder, dtype), load_sharded(folder, dtype)
    given, found = facts(whole), facts(parts)
    odd = [name for name in given if given[name] != found[name]]
    buffers = dict(parts.named_buffers())
    if buffers.keys() != dict(whole.named_buffers()).keys():
        odd.append("names of buffers")
    odd += [n for n, b in whole.named_buffers() if b.dtype != buffers[n].dtype or not torch.equal(b, buffers[n])]
    for name, weight in whole.named_parameters():
        part = parts.get_parameter(name)
        assert part.numel() == 0, "stands whole"
        with GatheredParameters([part]):
            if not torch.equal(weight, part):
                odd.append(name)
    return odd


def refusal(folder: Path) -> str:
    try:
        load_sharded(folder, "float32")
    except ModelError as error:
        return str(error)
    return "loaded"


def growth(load, folder: Path) -> float:
    """Of the most memory that the process ever held while it loaded, files that it has mapped included; in bytes."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
    before = memory("VmRSS")
    model = load(folder, "float32")
    assert all(parameter.numel() == 0 for parameter in model.parameters()), "stands whole"
    return memory("VmHWM") - before


def whole_first(folder: Path, dtype: str):
    """How deepspeed.initialize partitions a model that was loaded whole."""
    model = load_model(folder, dtype)
    deepspeed.zero.Init(module=model, dtype=getattr(torch, dtype))
    return model


def memory(kind: str) -> int:
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(kind))
    return int(line.split()[1]) * 1024


def sent(folder: Path) -> dict[str, object]:
    """How a trainer's weights are grouped for the engines, whether they are right, and what stood whole at once."""
    trainer, expected = Trainer(folder, "float32", Policy(zero_stage=3), seed=0), load_model(folder, "float32")
    source, groups, right, largest = TrainerSource(trainer), [], True, 0
    for names, tensors in source.iter_groups():
        groups.append(names)
        right &= all(torch.equal(t, expected.get_parameter(n)) for n, t in zip(names, tensors, strict=True))
        largest = max(largest, sum(p.numel() for p in trainer.network.parameters()))
    described = [entry.name for entry in source.metadata()]
    return {"groups": groups, "right": right, "described": described, "largest": largest}


def export(folder: Path, output: Path) -> None:
    Trainer(folder, "float32", Policy(zero_stage=3), seed=0).export(output, shard_bytes=SHARD)


def references(folder: Path, path: Path) -> None:
    """Scores of this rank's micro-batches."""
    batches = assemble(*random_groups(0, (3, 2, 4)), ranks=3, budget=60, temperature=0.7)
    scores = ShardedReference(folder, "float32", 7).score(deal(batches, 2)[RANK])
    np.savez(path, *scores)


def main(folder: Path, output: Path) -> None:
    torch.set_num_threads(1)
    # Tensors of 64 KiB are mapped, as a large model's are: between those of a heap, holes of up to a quarter of the model stay.
    assert ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 16)
    join(0)
    good, bad = sorted((folder / "good").iterdir()), sorted((folder / "bad").iterdir())
    found = {
        "good": {f"{each.name}/{dtype}": differences(each, dtype) for each in good for dtype in ("float32", "bfloat16")},
        "bad": {each.name: refusal(each) for each in bad},
        "parts": growth(load_sharded, folder / "large"),
        "whole": growth(whole_first, folder / "large"),
        "sent": sent(folder / "large"),
    }
    (output / f"{RANK}.json").write_text(json.dumps(found))
    export(folder / "good" / "tied-in-file", output / "export")
    references(folder / "good" / "tied-in-file", output / f"{RANK}.npz")
    torch.distributed.destroy_process_group()


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
