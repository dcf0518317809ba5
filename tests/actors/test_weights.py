"""Weight sync: what is sent arrives, and what does not is noticed in the same step."""

import dataclasses
import sys

import numpy as np
import pytest
import torch
from helpers import random_groups
from ray import cloudpickle

from actors.shared_memory import checksum
from actors.weights import CheckedSync, EngineClient, probe_batch
from tower_rl.batching import assemble
from tower_rl.protocols import MismatchExceeded


def test_checksum_sees_every_change():
    torch.manual_seed(0)
    for dtype in (torch.bfloat16, torch.float32):
        tensor = torch.randn(5, 7001).to(dtype)  # rows of words, a rest of words, and a rest of bytes
        whole = checksum("w", tensor)
        assert checksum("w", tensor.clone()) == whole
        assert checksum("v", tensor) != whole
        assert checksum("w", tensor.view(7001, 5)) != whole
        assert checksum("w", tensor.view(torch.int16 if dtype == torch.bfloat16 else torch.int32)) != whole
        for place in (0, 17_000, tensor.numel() - 1):
            changed = tensor.clone()
            changed.view(-1).view(torch.uint8)[place * tensor.itemsize] ^= 1
            assert checksum("w", changed) != whole, place
        swapped = tensor.clone()
        swapped[0], swapped[1] = tensor[1], tensor[0]
        assert checksum("w", swapped) != whole
        assert checksum("w", tensor.T) == checksum("w", tensor.T.contiguous())


async def train(spine, seed):
    groups, advantages = random_groups(seed, (3, 2))
    batches = assemble(groups, advantages, ranks=1, budget=256, temperature=0.7)
    batches = [
        dataclasses.replace(
            b, micro_batches=tuple(dataclasses.replace(m, reference_logprobs=m.old_logprobs) for m in b.micro_batches)
        )
        for b in batches
    ]
    await spine.ranks.update(batches, 0)


@pytest.mark.ray
async def test_the_engine_runs_the_trainers_weights_after_a_push(spine, prompts):
    before = (await spine.engines.probe(spine.sync.probe))[0]
    await train(spine, 1)
    figures = await spine.sync.push(7)
    after = (await spine.engines.probe(spine.sync.probe))[0]
    trainer = (await spine.ranks.probe(probe_batch(spine.sync.probe)))[0]
    assert np.abs(after - before).mean() > 0.05, "the update must change something"
    assert np.abs(after - trainer).max() < 1e-3
    assert figures["mismatch/probe"] < 1e-3
    groups = [g async for g in spine.engines.generate(prompts[:1], 2)]
    assert all((r.policy_versions == 7).all() for g in groups for r in g.rollouts)


@pytest.mark.ray
async def test_an_engine_with_other_weights_is_noticed_by_the_probe(spine):
    await train(spine, 2)  # and no push
    with pytest.raises(MismatchExceeded, match="does not run the trainer's weights"):
        await spine.sync.compare(8)
    await spine.sync.push(8)


class Corrupting(EngineClient):
    """Flips one bit of the first tensor of each group after the checksum was taken."""

    def init_weight_transfer_engine(self, init_info):
        self.buffer = np.memmap(init_info["path"], np.uint8, "r+", shape=(init_info["size"],))
        super().init_weight_transfer_engine(init_info)

    def update_weights(self, update_info):
        self.buffer[update_info["offsets"][0]] ^= 1
        super().update_weights(update_info)


class Losing(EngineClient):
    """Forgets the last group."""

    def update_weights(self, update_info):
        if "model.norm.weight" not in update_info["names"]:
            super().update_weights(update_info)


# Actors cannot import this file, so its classes travel whole.
cloudpickle.register_pickle_by_value(sys.modules[Corrupting.__module__])


@pytest.mark.ray
@pytest.mark.parametrize(
    ("client", "message"),
    [
        (Corrupting, r"version 9 did not reach the engines intact: model\.\S+ arrived with other bits than were sent$"),
        (Losing, r"version 9 did not reach the engines intact: 19 of 20 tensors arrived$"),
    ],
)
async def test_a_faulty_transfer_stops_in_the_same_step(spine, client, message):
    """The last tests of this engine: one that refused an update must not be used again."""
    faulty = CheckedSync(spine.ranks, spine.engines, spine.sync.probe, 0.01)
    await faulty.connect(spine.path, client([engine.handle for engine in spine.engines.actors], 60))
    with pytest.raises(MismatchExceeded, match=message):
        await faulty.push(9)
