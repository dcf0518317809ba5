"""The penalty for length against DAPO's equation and verl's own reward manager, and what a mask takes away."""

import asyncio
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import prompt, rollout
from verl import DataProto
from verl.workers.reward_manager.dapo import DAPORewardManager

from tower_rl.advantage import estimate, trainable
from tower_rl.config.sampling import Overlong
from tower_rl.config.stages import RlvrStage
from tower_rl.overlong import penalising, penalty, uncut
from tower_rl.types import Group, ScoredGroup, StopReason
from verifiers.types import invalid, scored

LIMIT, BUFFER = 20, 8


def group(*lengths):
    """Rollouts of these lengths; those that reach the limit are cut."""
    rollouts = (rollout([7] * n, [-1] * n) for n in lengths)
    return Group(
        prompt([1, 2]), tuple(replace(r, stop_reason=StopReason.LENGTH) if len(r.token_ids) == LIMIT else r for r in rollouts)
    )


def equation_13(length):
    if length <= LIMIT - BUFFER:
        return 0
    return ((LIMIT - BUFFER) - length) / BUFFER if length <= LIMIT else -1


@pytest.mark.parametrize("factor", [1.0, 0.25])
def test_the_penalty_is_equation_13(factor):
    overlong = Overlong(soft_buffer=BUFFER, penalty=factor)
    for length in range(LIMIT + 1):
        assert -penalty(length, LIMIT, overlong) == pytest.approx(factor * equation_13(length))


def test_rewards_are_those_of_verls_dapo():
    """verl's reward manager on the same responses: 20 tokens at most, the last 8 of them cost up to 0.5."""
    lengths, scores = [3, 12, 13, 17, 20], [1.0, 0.0, 1.0, 0.0, 1.0]
    responses, mask = torch.zeros(5, LIMIT, dtype=torch.long), torch.zeros(5, 2 + LIMIT, dtype=torch.long)
    for row, length in enumerate(lengths):
        mask[row, : 2 + length] = 1
    tensors = {"prompts": torch.zeros(5, 2, dtype=torch.long), "responses": responses, "attention_mask": mask}
    facts = {"reward_model": [{"ground_truth": s} for s in scores], "data_source": ["x"] * 5}
    data = DataProto.from_dict(tensors, {name: np.array(values, dtype=object) for name, values in facts.items()})
    manager = DAPORewardManager(
        SimpleNamespace(decode=lambda ids, **_: "", eos_token="<end>"),
        0,
        lambda data_source, solution_str, ground_truth, extra_info: ground_truth,
        max_resp_len=LIMIT,
        overlong_buffer_cfg=SimpleNamespace(enable=True, len=BUFFER, penalty_factor=0.5, log=False),
    )

    class Verifiers:
        async def verify(self, found):
            return ScoredGroup(found.prompt, found.rollouts, tuple(map(scored, scores)))

    ours = asyncio.run(penalising(Verifiers(), Overlong(soft_buffer=BUFFER, penalty=0.5), LIMIT).verify(group(*lengths)))
    np.testing.assert_allclose(ours.rewards, manager(data).sum(-1).numpy(), atol=1e-6)
    assert [v.score for v in ours.verdicts] == scores, "the verifier's scores stay what they were"
    np.testing.assert_allclose(trainable([ours])[1][0], ours.rewards, atol=1e-6)


def test_an_invalid_verdict_has_no_reward_however_long_its_response():
    found = group(3, 20)
    assert ScoredGroup(found.prompt, found.rollouts, (scored(1.0), invalid("lost")), (0.0, 1.0)).rewards == (1.0, None)


def test_without_a_buffer_there_is_no_penalty():
    verifiers = SimpleNamespace()
    assert penalising(verifiers, None, LIMIT) is verifiers
    assert penalising(verifiers, Overlong(mask=True), LIMIT) is verifiers


def test_cut_rollouts_leave_the_loss_but_count_in_the_statistics():
    """TRL and DAPO mask the loss alone: the advantage of the others is taken with the cut ones in mean and deviation."""
    whole = group(5, LIMIT, 6, LIMIT)
    rewards = np.array([1.0, 0.0, 1.0, 0.0], np.float32)
    groups = [whole, group(LIMIT, LIMIT)]
    advantages = estimate(RlvrStage(name="test", kind="rlvr", steps=1), groups, [rewards, rewards[:2]])
    groups, kept = uncut(groups, advantages)
    assert [[len(r.token_ids) for r in g.rollouts] for g in groups] == [[5, 6]], "a group that was cut as a whole leaves"
    np.testing.assert_allclose(kept[0], [0.5 / (rewards.std(ddof=1) + 1e-6)] * 2, rtol=1e-5)
    assert groups[0].rollouts[1] is whole.rollouts[2]
