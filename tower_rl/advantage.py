"""Rewards become advantages, through verl's estimators."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor
from verl.trainer.config import AlgoConfig
from verl.trainer.ppo import core_algos

from tower_rl.config.methods import ADVANTAGES
from tower_rl.config.stages import RlvrStage
from tower_rl.protocols import RunError
from tower_rl.types import Advantages, Batch, Floats, Group, Ints, Rollout, ScoredGroup
from verifiers.types import Verdict


def trainable(groups: Sequence[ScoredGroup], fewest: int = 2) -> tuple[list[Group], list[Floats]]:
    """The rollouts that may be trained on, and their rewards.

    An invalid verdict says nothing about its response, so that rollout leaves the loss and the group's statistics. A group
    with fewer than `fewest` valid rollouts (two, where they are compared) leaves as a whole.

    Returns:
        the groups without their invalid rollouts, and for each [G] rewards.
    """
    kept, rewards = [], []
    for group in groups:
        valid = _valid(group)
        if len(valid) >= fewest:
            kept.append(Group(group.prompt, tuple(r for r, _, _ in valid)))
            rewards.append(np.array([reward for _, _, reward in valid], np.float32))
    return kept, rewards


def by_part(groups: Sequence[ScoredGroup], names: Sequence[str], fewest: int = 2) -> list[Floats]:
    """Parts of the verdicts as rewards of several dimensions, for the rollouts of `trainable`: for each group [G, K].

    Raises RunError for a verdict that has not all K parts.
    """
    valid = [(group, [v for _, v, _ in _valid(group)]) for group in groups]
    return [
        np.array([[_part(group, v, name) for name in names] for v in verdicts], np.float32).reshape(len(verdicts), len(names))
        for group, verdicts in valid
        if len(verdicts) >= fewest
    ]


def estimate(
    stage: RlvrStage,
    groups: Sequence[Group],
    rewards: Sequence[Floats],
    parts: Sequence[Floats] = (),
    penalties: Sequence[Floats] | None = None,
) -> list[Advantages]:
    """Advantages of the rollouts of a step by verl's estimator `stage.advantage`.

    Args:
        stage: names the estimator and its options.
        groups: the rollouts; their lengths count where an estimator weighs by tokens.
        rewards: for each group, [G] one reward a rollout, given at its last token.
        parts: for gdpo, for each group [G, K] rewards by dimension, in the order of `stage.reward_parts`.
        penalties: for each rollout, group by group, [T] what is taken from the reward of each token.

    Returns:
        for each group, [G] one advantage a rollout, or where tokens may differ (`per_token`) for each rollout [T].
    """
    if not rewards:
        return []
    needs = ADVANTAGES[stage.advantage]
    if needs.relative:  # equal rewards are 0 then, and so are their advantages; the float32 mean of eight times 0.9 is not 0.9
        rewards, parts = [r - r[0] for r in rewards], [p - p[0] for p in parts]
    lengths = np.array([len(r.token_ids) for g in groups for r in g.rollouts])
    taken = penalties
    if not needs.tokens:  # the sum is all that counts, so each response is one token
        lengths = np.ones_like(lengths)
        taken = None if penalties is None else [p.sum(keepdims=True) for p in penalties]
    mask = torch.from_numpy(np.arange(lengths.max())[:, None] < lengths).float().t()  # verl walks over tokens: let each be a row
    sizes = [len(r) for r in rewards]
    inputs = _by_dimension(stage, parts, mask) if stage.advantage == "gdpo" else {"config": _options(stage)}
    values = core_algos.get_adv_estimator_fn(stage.advantage)(
        token_level_rewards=_token_rewards(np.concatenate(list(rewards)), mask, lengths, taken),
        response_mask=mask,
        index=np.repeat(np.arange(len(sizes)), sizes),
        norm_adv_by_std_in_grpo=stage.normalize_by_std,
        **inputs,
    )[0].numpy()
    if not needs.per_token:
        return list(np.split(values[:, 0], np.cumsum(sizes)[:-1]))
    rows = iter([row[:n].copy() for row, n in zip(values, lengths, strict=True)])
    return [[next(rows) for _ in range(size)] for size in sizes]


def penalties(batches: Sequence[Batch], estimator: str, coefficient: float) -> tuple[list[Floats], float]:
    """The KL term as a part of the reward: coefficient * estimate of KL(sampler, reference) at each token.

    Args:
        batches: with reference log-probabilities; `rollout_ids` say which rollout is where.
        estimator: `k1`, `k2` or `k3`.
        coefficient: its weight.

    Returns:
        for each rollout [T], and the mean estimate over all tokens.
    """
    found: dict[int, Floats] = {}
    for m in (m for batch in batches for m in batch.micro_batches):
        assert m.reference_logprobs is not None
        old, reference = (cast("Any", torch.from_numpy(x)) for x in (m.old_logprobs, m.reference_logprobs))
        kl = core_algos.kl_penalty(old, reference, estimator).numpy()
        found |= {int(k): kl[row][m.mask[row]] for row, k in enumerate(m.rollout_ids) if k >= 0}
    in_order = [found[k] for k in range(len(found))]
    return [coefficient * kl for kl in in_order], float(np.concatenate(in_order).mean())


def _token_rewards(rewards: Floats, mask: Tensor, lengths: Ints, taken: Sequence[Floats] | None) -> Tensor:
    """[B, T]: the reward at each response's last token, less what is taken at every token."""
    values = torch.zeros_like(mask)
    values[torch.arange(len(lengths)), torch.from_numpy(lengths) - 1] = torch.from_numpy(rewards)
    for row, penalty in zip(values, taken or (), strict=taken is not None):
        row[: len(penalty)] -= torch.from_numpy(penalty)
    return values


def _valid(group: ScoredGroup) -> list[tuple[Rollout, Verdict, float]]:
    """Rollouts with their verdicts and rewards, but for those whose verdict is invalid."""
    judged = zip(group.rollouts, group.verdicts, group.rewards, strict=True)
    return [(rollout, verdict, reward) for rollout, verdict, reward in judged if reward is not None]


def _part(group: ScoredGroup, verdict: Verdict, name: str) -> float:
    if name not in verdict.parts:
        known = ", ".join(verdict.parts) or "none"
        raise RunError(
            f"a verdict of {group.prompt.verifier} on {group.prompt.id} has no part {name!r}, which stages.N.reward_parts names; "
            f"it has {known}"
        )
    return verdict.parts[name]


def _options(stage: RlvrStage, **more: Any) -> AlgoConfig:
    return AlgoConfig(gamma=stage.gamma, norm_adv_by_std_in_grpo=stage.normalize_by_std, **more)


def _by_dimension(stage: RlvrStage, parts: Sequence[Floats], mask: Tensor) -> Mapping[str, Any]:
    """verl takes the rewards of gdpo out of a batch, whose prompts it needs to find the responses' last tokens."""
    names = list(stage.reward_parts)
    columns = dict(zip(names, np.concatenate(list(parts)).T, strict=True))
    batch = {"prompts": mask[:, :0], "attention_mask": mask.long()}
    options = _options(stage, gdpo_reward_keys=names, gdpo_reward_weights=list(stage.reward_parts.values()))
    return {"config": options, "non_tensor_batch": columns, "batch": batch}
