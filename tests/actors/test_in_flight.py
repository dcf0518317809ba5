"""Weights that change while a real vLLM engine samples: no token is lost, and each knows the weights that sampled it."""

import asyncio
import dataclasses
import sys

import numpy as np
import pytest
import torch
from helpers import plain_logprobs, plain_model, random_groups
from ray import cloudpickle

from actors.group import call
from actors.stalled import Limit
from tower_rl.batching import assemble

pytestmark = pytest.mark.ray

TEMPERATURE, TOKENS, NEAR = 0.7, 200, 2e-3

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import this file


async def ask(handle, function, *arguments):
    """What a function answers in the engine's process."""
    return await call("the engine", Limit(60, ""), handle.__ray_call__.remote(function, *arguments))


def longest(engine, tokens):
    """Limit answers."""
    engine.settings = dataclasses.replace(engine.settings, max_new_tokens=tokens)


def late(engine, seconds):
    """Let vLLM hand over the tokens of each step so much later than they were made."""
    core = engine.engine.engine_core
    core.__dict__.pop("get_output_async", None)
    prompt = core.get_output_async

    async def get_output_async():
        output = await prompt()
        await asyncio.sleep(seconds)
        return output

    if seconds:
        core.get_output_async = get_output_async


def most(engine):
    """Tokens of the sample that has come furthest."""
    states = engine.engine.output_processor.request_states.values()
    return max((state.detokenizer.num_output_tokens() for state in states), default=0)


@pytest.fixture(params=[0.0, 0.02], ids=["tokens at once", "tokens late"])
async def engine(spine, request):
    """The engine with long answers, of which it tells at once, or so late that many tokens are on their way at a pause."""
    handle = spine.engines.actors[0].handle
    await ask(handle, longest, TOKENS)
    await ask(handle, late, request.param)
    yield handle
    await ask(handle, longest, 24)
    await ask(handle, late, 0.0)


async def train(spine, seed):
    groups, advantages = random_groups(seed, (3, 2))
    batches = assemble(groups, advantages, ranks=1, budget=256, temperature=TEMPERATURE)
    batches = [
        dataclasses.replace(
            b, micro_batches=tuple(dataclasses.replace(m, reference_logprobs=m.old_logprobs) for m in b.micro_batches)
        )
        for b in batches
    ]
    await spine.ranks.update(batches, 0)


async def trained_model(spine, folder):
    """The trainer's weights in a model of their own."""
    folder.mkdir()
    await spine.ranks.save(folder)
    return plain_model(folder / "hf")


async def test_each_token_is_of_the_version_that_it_says(spine, engine, prompts, tmp_path):
    """Of all weights that the engine ever had, those of a token's version explain its log-probability, and no others do."""
    first = await ask(engine, lambda engine: engine.version) + 1
    await spine.sync.push(first)
    models = [await trained_model(spine, tmp_path / "0")]
    sampling = [asyncio.create_task(anext(spine.engines.generate([prompt], 3))) for prompt in prompts]
    for change, so_far in ((1, 15), (2, 60)):
        while await ask(engine, most) < so_far:
            await asyncio.sleep(0.01)
        await train(spine, change)
        await spine.sync.push(first + change)
        models.append(await trained_model(spine, tmp_path / str(change)))
    changes, foreign = 0, []
    for group in await asyncio.gather(*sampling):
        for rollout in group.rollouts:
            ages = rollout.policy_versions - first
            assert len(ages) == len(rollout.token_ids) == len(rollout.logprobs)
            assert ages[0] == 0 and (np.diff(ages) >= 0).all()
            assert rollout.stop_reason == ("stop" if rollout.token_ids[-1] == 2 else "length")
            with torch.no_grad():
                whole = torch.stack([plain_logprobs(model, group, rollout, TEMPERATURE) for model in models]).numpy()
            off = np.abs(whole - rollout.logprobs)
            assert np.take_along_axis(off, ages[None], 0).max() < NEAR
            foreign.append(off[np.arange(len(models))[:, None] != ages])
            changes += ages[-1]
    assert changes >= len(prompts), "requests ran over the updates"
    assert np.mean(np.concatenate(foreign) > NEAR) > 0.9, "other weights would show"
