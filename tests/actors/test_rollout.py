"""A real vLLM engine on the tiny model."""

import asyncio
import dataclasses
import sys

import numpy as np
import pytest
from ray import cloudpickle

from actors.group import call
from actors.rollout import Engines
from actors.stalled import Limit
from tower_rl.batching import assemble
from tower_rl.models.load import load_tokenizer
from tower_rl.protocols import DeadlineExceeded

pytestmark = pytest.mark.ray

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # actors cannot import this file


async def groups_of(engines, prompts, samples):
    return [g async for g in engines.generate(prompts, samples)]


async def test_every_prompt_gets_its_group(spine, prompts, tiny_model):
    tokenizer = load_tokenizer(tiny_model)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    groups = await groups_of(spine.engines, prompts, 3)
    assert sorted(g.prompt.cursor for g in groups) == [p.cursor for p in prompts]
    for rollout in (r for g in groups for r in g.rollouts):
        assert 1 <= len(rollout.token_ids) <= 24
        assert len(rollout.token_ids) == len(rollout.logprobs) == len(rollout.policy_versions)
        assert (rollout.logprobs <= 0).all()
        assert rollout.stop_reason == ("stop" if rollout.token_ids[-1] == 2 else "length")
        assert 2 not in rollout.token_ids[:-1]
        plain = [i for i in rollout.token_ids.tolist() if i not in special]
        assert rollout.text == tokenizer.convert_tokens_to_string(tokenizer.convert_ids_to_tokens(plain))
    assert {len(g.rollouts) for g in groups} == {3}
    assert len({r.token_ids.tobytes() for g in groups for r in g.rollouts}) > len(groups), "samples of a group differ"
    assert spine.engines.open == [0]


async def test_engine_and_trainer_agree_on_what_was_sampled(spine, prompts):
    """At temperature 0.7, in float32: the engine's log-probabilities are of the distribution that it sampled from."""
    groups = await groups_of(spine.engines, prompts, 4)
    advantages = [np.zeros(4, np.float32) for _ in groups]
    batches = assemble(groups, advantages, ranks=1, budget=512, temperature=0.7)
    batches = [
        dataclasses.replace(
            b, micro_batches=tuple(dataclasses.replace(m, reference_logprobs=m.old_logprobs) for m in b.micro_batches)
        )
        for b in batches
    ]
    result = await spine.ranks.update(batches, 0)
    assert result.metrics["mismatch/mean"] < 1e-3
    assert result.metrics["mismatch/max"] < 1e-2
    assert result.metrics["mismatch/outside"] == 0
    wrong = [dataclasses.replace(b, temperature=1.0) for b in batches]
    result = await spine.ranks.update(wrong, 0)
    assert result.metrics["mismatch/mean"] > 0.05, "another temperature must show"
    await spine.sync.push(1)


def cached(engine, token_ids):
    """Tokens of the prompt that the last of four samples finds computed."""
    from vllm import SamplingParams, TokensPrompt
    from vllm.sampling_params import RequestOutputKind

    async def final():
        params = SamplingParams(n=4, max_tokens=1, output_kind=RequestOutputKind.FINAL_ONLY)
        prompt = TokensPrompt(prompt_token_ids=list(token_ids))
        return [output async for output in engine.engine.generate(prompt, params, "cached")][-1]

    loop = engine.engine.output_handler.get_loop()  # Ray calls functions in another thread
    return asyncio.run_coroutine_threadsafe(final(), loop).result(60).num_cached_tokens


@pytest.mark.parametrize("tokens, shared", [(30, 0), (40, 32), (70, 64)])
async def test_samples_share_what_is_computed_of_their_prompt(spine, tokens, shared):
    handle = spine.engines.actors[0].handle
    found = await call("the engine", Limit(60, ""), handle.__ray_call__.remote(cached, range(tokens, 2 * tokens)))
    assert found == shared


async def test_a_deadline_names_what_was_waited_for(spine, prompts):
    hurried = Engines(spine.engines.actors, request_timeout_s=1e-3, start_timeout_s=1)
    with pytest.raises(DeadlineExceeded, match=r"rollout engine 0, prompt s/\d after 0 s"):
        await groups_of(hurried, prompts, 2)
