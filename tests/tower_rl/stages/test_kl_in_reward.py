"""What a step hands to the learner when the KL term stands in the reward, and when in the loss."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from helpers import random_groups

from tower_rl.config.load import load
from tower_rl.protocols import InvalidRateExceeded, RunError
from tower_rl.stages.clock import Clock
from tower_rl.stages.rlvr import Parts, learn
from tower_rl.types import ScoredGroup, StepResult
from verifiers.types import invalid, scored

CONFIG = """
run: {{name: kl, dir: {folder}/run}}
model: {{path: {folder}}}
data:
  max_prompt_tokens: 30
  sources: {{sums: {{kind: reasoning_gym, task: chain_sum, size: 50, verifier: even}}}}
rollout: {{group_size: 4, max_new_tokens: 20}}
policy: {{tokens_per_micro_batch: 60}}
verification: {{max_invalid_rate: 1.0}}
verifiers: {{even: {{use: constraints}}}}
stages: [{{name: rl, kind: rlvr, steps: 1, kl_coefficient: 0.5, {stage}}}]
"""
METRICS = {"mismatch/mean": 0.0, "mismatch/outside": 0.0}


class Others:
    """Reference, learner and journal: the first finds tokens at even places 0.25 nats likelier, the others keep what they get."""

    workers = 2

    async def annotate(self, batches):
        def shift(m):
            return (m.old_logprobs + 0.25 * (np.arange(m.mask.shape[1]) % 2 == 0)).astype(np.float32) * m.mask

        return [
            replace(b, micro_batches=tuple(replace(m, reference_logprobs=shift(m)) for m in b.micro_batches)) for b in batches
        ]

    async def update(self, batches, step):
        self.batches = batches
        return StepResult(0.0, 1.0, 0.0, 1, METRICS)

    def keep(self, step, scored_groups, groups, advantages):
        self.groups, self.advantages = groups, advantages


def step(tmp_path, stage, scores=((1.0, 0.0, 0.5), (0.25, 0.75)), others=None):
    (tmp_path / "c.yaml").write_text(CONFIG.format(folder=tmp_path, stage=stage))
    config = load(tmp_path / "c.yaml")
    groups, _ = random_groups(0, [len(s) for s in scores])
    verdicts = [tuple(invalid("broken") if s is None else scored(s) for s in own) for own in scores]
    every = [ScoredGroup(g.prompt, g.rollouts, v) for g, v in zip(groups, verdicts, strict=True)]
    others = others or Others()
    parts = Parts(None, None, others, others, None)
    advantages, result = asyncio.run(learn(parts, 0, every, others, config, config.stages[0], Clock()))
    assert advantages is others.advantages
    return others, result


def trained(others):
    """[T] advantages of each rollout, as the learner got them."""
    found = {}
    for m in (m for batch in others.batches for m in batch.micro_batches):
        found |= {int(k): m.advantages[row][m.mask[row]] for row, k in enumerate(m.rollout_ids) if k >= 0}
    return [found[k] for k in range(len(found))]


def test_the_reward_of_each_token_loses_its_part(tmp_path):
    others, result = step(tmp_path, "advantage: reinforce_plus_plus, kl_in: reward, kl_estimator: k1")
    lengths = [len(r.token_ids) for g in others.groups for r in g.rollouts]
    # k1 = old - reference = -0.25 at even places, so each of them adds 0.125 to all returns before it
    returns = [r + 0.125 * sum(i % 2 == 0 for i in range(t, n)) for r, n in zip((1, 0, 0.5, 0.25, 0.75), lengths, strict=True)
               for t in range(n)]  # fmt: skip
    wanted = (np.array(returns) - np.mean(returns)) / np.std(returns, ddof=1)
    np.testing.assert_allclose(np.concatenate(trained(others)), wanted, rtol=1e-3, atol=1e-4)
    evens = sum((n + 1) // 2 for n in lengths)
    assert result.metrics["kl"] == pytest.approx(-0.25 * evens / sum(lengths), rel=1e-4)
    assert all(m.reference_logprobs is None for b in others.batches for m in b.micro_batches), "the loss has no KL term then"


def test_the_sum_over_the_response_is_what_groups_compare(tmp_path):
    others, _ = step(tmp_path, "advantage: rloo, kl_in: reward, kl_estimator: k1")
    lengths = [[len(r.token_ids) for r in g.rollouts] for g in others.groups]
    rewards = [[r + 0.125 * ((n + 1) // 2) for r, n in zip(*own, strict=True)]
               for own in zip(((1, 0, 0.5), (0.25, 0.75)), lengths, strict=True)]  # fmt: skip
    wanted = [own[i] - np.mean(own[:i] + own[i + 1 :]) for own in rewards for i in range(len(own))]
    np.testing.assert_allclose([a.mean() for a in trained(others)], wanted, rtol=1e-3, atol=1e-4)


def test_in_the_loss_the_reference_goes_to_the_learner(tmp_path):
    others, result = step(tmp_path, "advantage: rloo, kl_in: loss")
    np.testing.assert_allclose([a.mean() for a in trained(others)], [0.75, -0.75, 0, -0.5, 0.5], atol=1e-5)
    assert all(m.reference_logprobs is not None for b in others.batches for m in b.micro_batches)
    assert result.metrics == METRICS


def test_a_part_that_a_verdict_has_not_ends_the_run(tmp_path):
    others = Others()
    with pytest.raises(RunError, match=r"has no part 'style', which stages.N.reward_parts names; it has none"):
        step(tmp_path, "advantage: gdpo, reward_parts: {style: 1}", others=others)
    assert others.advantages == [], "the rollouts are kept without any, to see which verdict it was"


@pytest.mark.parametrize("how", ["kl_in: reward", "kl_in: loss"])
@pytest.mark.parametrize(("name", "number"), [("rloo", "two valid verdicts"), ("reinforce_plus_plus", "a valid verdict")])
def test_nothing_to_train_on(tmp_path, how, name, number):
    with pytest.raises(InvalidRateExceeded, match=f"no group has {number}, so there is nothing to train on"):
        step(tmp_path, f"advantage: {name}, {how}", ((None, None), (None, None) if name[1] == "e" else (1.0, None)))
    if name == "reinforce_plus_plus":
        others, _ = step(tmp_path, f"advantage: {name}, {how}", ((None, None), (1.0, None)))
        assert len(trained(others)) == 1
