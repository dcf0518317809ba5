"""A real vLLM engine on the tiny model."""

import asyncio
import dataclasses
import os
import re
import signal
import sys

import numpy as np
import pytest
from processes import family
from ray import cloudpickle

from actors.group import call
from actors.rollout import Engines
from actors.stalled import Limit
from tower_rl.batching import assemble
from tower_rl.models.load import load_tokenizer
from tower_rl.protocols import DeadlineExceeded
from tower_rl.status import read, status_path

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


async def test_an_engine_whose_process_stands_still_is_given_up(spine, prompts):
    """vLLM computes in a process below the actor's, which reports tokens. It goes on afterwards."""
    log = spine.engines.actors[0].watch.log
    (core,) = [pid for pid, name in family(read(status_path(log)).pid).items() if "EngineCore" in name]
    hurried = Engines(spine.engines.actors, request_timeout_s=2, start_timeout_s=1)
    os.kill(core, signal.SIGSTOP)
    try:
        with pytest.raises(DeadlineExceeded) as stopped:
            await groups_of(hurried, prompts, 2)
    finally:
        os.kill(core, signal.SIGCONT)
    first, heard, *_ = str(stopped.value).splitlines()
    told = (
        r"gave up waiting for rollout engine 0, prompt s/\d after 2 s without progress \(rollout.request_timeout_s\); last heard:"
    )
    assert re.fullmatch(told, first)
    assert re.fullmatch(r"  rollout-0: sampling \d+ tokens?, [2-9] s ago; stacks of its threads in \S+", heard)
    assert "EngineCore" in log.with_suffix(".stack").read_text(), "those of the process below, too"
    assert len(await groups_of(spine.engines, prompts, 1)) == len(prompts)
