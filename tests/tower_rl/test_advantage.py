"""Advantages of every accepted name against loops over their formulas; invalid verdicts leave no trace."""

from dataclasses import replace

import numpy as np
import pytest
from helpers import prompt, random_groups, rollout
from verl.trainer.ppo.ray_trainer import apply_kl_penalty

from tower_rl.advantage import by_part, estimate, penalties, trainable
from tower_rl.batching import assemble
from tower_rl.config.methods import ADVANTAGES
from tower_rl.config.stages import RlvrStage
from tower_rl.protocols import RunError
from tower_rl.types import ScoredGroup
from verifiers.types import invalid, scored


def stage(advantage="grpo", **more):
    return RlvrStage(name="rl", kind="rlvr", steps=1, advantage=advantage, **more)


def group(*scores, parts=None):
    verdicts = tuple(invalid("broken") if s is None else scored(s, parts=parts[i] if parts else {}) for i, s in enumerate(scores))
    return ScoredGroup(prompt([1]), tuple(rollout([i + 3], [-1]) for i in range(len(scores))), verdicts)


def step(seed=0, sizes=(4, 2, 3)):
    """Groups whose responses differ in length, rewards, and what is taken from the reward of each token."""
    groups, _ = random_groups(seed, sizes)
    rng = np.random.default_rng(seed)
    rewards = [rng.random(size).astype(np.float32) for size in sizes]
    taken = [0.1 * rng.standard_normal(len(r.token_ids)).astype(np.float32) for g in groups for r in g.rollouts]
    return groups, rewards, taken


def lengths_of(groups):
    return [[len(r.token_ids) for r in g.rollouts] for g in groups]


def whitened(values, lengths):
    """Advantages of rollouts, less their mean over tokens, over the deviation of that."""
    tokens = np.repeat(np.concatenate(values), np.concatenate(lengths))
    return [(v - tokens.mean()) / tokens.std(ddof=1) for v in values]


def centred(rewards):
    return [r - r.mean() for r in rewards]


def best_only(r, by_std):
    second, first = np.sort(r)[-2:]
    return np.where(r == first, (first - second) / (r.std(ddof=1) + 1e-6 if by_std else 1), 0)


def opo(r, n):
    return r - np.average(r, weights=n)


LOOPS = {
    "grpo": lambda rewards, lengths, by_std: [c / (r.std(ddof=1) + 1e-6 if by_std else 1)
                                              for c, r in zip(centred(rewards), rewards, strict=True)],
    "grpo_passk": lambda rewards, lengths, by_std: [best_only(r, by_std) for r in rewards],
    "rloo": lambda rewards, lengths, _: [np.array([r[i] - np.delete(r, i).mean() for i in range(len(r))]) for r in rewards],
    "opo": lambda rewards, lengths, _: [opo(r, n) for r, n in zip(rewards, lengths, strict=True)],
    "gpg": lambda rewards, lengths, _: [c * sum(map(len, rewards)) / np.count_nonzero(np.concatenate(rewards))
                                        for c in centred(rewards)],
    "reinforce_plus_plus_baseline": lambda rewards, lengths, _: whitened(centred(rewards), lengths),
    "reinforce_plus_plus": lambda rewards, lengths, _: whitened(rewards, lengths),
}  # fmt: skip
LOOPS |= {"grpo_vectorized": LOOPS["grpo"], "rloo_vectorized": LOOPS["rloo"]}


def same(found, wanted):
    assert len(found) == len(wanted)
    for values, expected in zip(found, wanted, strict=True):
        np.testing.assert_allclose([np.mean(v) for v in values], expected, rtol=1e-4, atol=1e-5)


def test_there_is_a_loop_for_every_name():
    assert LOOPS.keys() == ADVANTAGES.keys() - {"gdpo"}


@pytest.mark.parametrize(
    ("name", "by_std"),
    [(name, by_std) for name in LOOPS for by_std in (True, False) if by_std or "normalize_by_std" in ADVANTAGES[name].heeds],
)
def test_against_a_loop(name, by_std):
    groups, rewards, _ = step()
    rewards[1][0] = 0.0  # gpg counts rewards that are not zero
    found = estimate(stage(name, normalize_by_std=by_std), groups, rewards)
    same(found, LOOPS[name](rewards, lengths_of(groups), by_std))
    if ADVANTAGES[name].per_token:
        assert all(np.ptp(tokens) < 1e-6 for values in found for tokens in values)


@pytest.mark.parametrize("by_std", [True, False])
def test_gdpo_normalises_each_part_for_itself(by_std):
    groups, _, _ = step()
    rng = np.random.default_rng(1)
    parts = [np.stack([rng.random(len(g.rollouts)), 0.01 * rng.random(len(g.rollouts))], 1).astype(np.float32) for g in groups]
    about = stage("gdpo", reward_parts={"a": 2.0, "b": 1.0}, normalize_by_std=by_std)
    summed = [sum(w * LOOPS["grpo"]([p[:, k]], None, by_std)[0] for k, w in enumerate((2, 1))) for p in parts]
    same(estimate(about, groups, [p.sum(1) for p in parts], parts), whitened(summed, lengths_of(groups)))


@pytest.mark.parametrize("name", LOOPS)
def test_kl_in_the_reward(name):
    """For outcome estimators the sum over a response's tokens is its reward; only reinforce_plus_plus looks at each token."""
    groups, rewards, taken = step()
    found = estimate(stage(name), groups, rewards, penalties=taken)
    ends = np.cumsum([len(r) for r in rewards])[:-1]
    less = [r - [t.sum() for t in own] for r, own in zip(rewards, np.split(np.array(taken, object), ends), strict=True)]
    if name != "reinforce_plus_plus":
        return same(found, LOOPS[name]([x.astype(np.float32) for x in less], lengths_of(groups), True))
    returns = [r - t[i:].sum() for r, t in zip(np.concatenate(rewards), taken, strict=True) for i in range(len(t))]
    wanted = (np.array(returns) - np.mean(returns)) / np.std(returns, ddof=1)
    return np.testing.assert_allclose(np.concatenate([t for g in found for t in g]), wanted, rtol=1e-4, atol=1e-5)


def test_reinforce_plus_plus_discounts():
    groups, rewards, _ = step()
    found = estimate(stage("reinforce_plus_plus", gamma=0.9), groups, rewards)
    pairs = [(r, n) for rs, ns in zip(rewards, lengths_of(groups), strict=True) for r, n in zip(rs, ns, strict=True)]
    returns = np.array([r * 0.9 ** (n - 1 - t) for r, n in pairs for t in range(n)])
    wanted = (returns - returns.mean()) / returns.std(ddof=1)
    np.testing.assert_allclose(np.concatenate([t for g in found for t in g]), wanted, rtol=1e-4, atol=1e-5)


def test_advantages_of_tokens_reach_their_tokens():
    groups, rewards, taken = step()
    found = estimate(stage("reinforce_plus_plus"), groups, rewards, penalties=taken)
    flat = [tokens for values in found for tokens in values]
    for batch in assemble(groups, found, ranks=2, budget=60, temperature=1.0):
        for m in batch.micro_batches:
            for row, k in enumerate(m.rollout_ids):
                if k >= 0:
                    np.testing.assert_array_equal(m.advantages[row][m.mask[row]], flat[k])
                    assert not m.advantages[row][~m.mask[row]].any()


@pytest.mark.parametrize("estimator", ["k1", "k2", "k3"])
def test_penalties_are_those_of_verl(estimator):
    groups, rewards, _ = step()
    rng = np.random.default_rng(2)
    batches = assemble(groups, rewards, ranks=2, budget=60, temperature=1.0)
    reference = [[(m.old_logprobs - 0.3 * rng.random(m.mask.shape)).astype(np.float32) for m in b.micro_batches] for b in batches]
    batches = [
        replace(b, micro_batches=tuple(replace(m, reference_logprobs=v) for m, v in zip(b.micro_batches, own, strict=True)))
        for b, own in zip(batches, reference, strict=True)
    ]
    found, mean = penalties(batches, estimator, 0.2)
    seen, total = 0, []
    for m in (m for b in batches for m in b.micro_batches):
        values = by_verl(m, estimator)
        for row, k in enumerate(m.rollout_ids):
            if k >= 0:
                np.testing.assert_allclose(found[k], -values[row][m.mask[row]], rtol=1e-5, atol=1e-7)
                seen, total = seen + 1, [*total, *found[k]]
    assert seen == len(found) == 9
    assert mean == pytest.approx(np.mean(total) / 0.2, rel=1e-5)


def by_verl(micro_batch, estimator):
    """What verl's own trainer adds to the rewards, which are zero here."""
    import torch
    from verl import DataProto
    from verl.trainer.ppo.core_algos import FixedKLController

    fields = {"old_log_probs": micro_batch.old_logprobs, "ref_log_prob": micro_batch.reference_logprobs}
    fields |= {"response_mask": micro_batch.mask, "token_level_scores": np.zeros_like(micro_batch.old_logprobs)}
    data = DataProto.from_dict({name: torch.from_numpy(np.asarray(v, np.float32)) for name, v in fields.items()})
    return apply_kl_penalty(data, FixedKLController(0.2), estimator)[0].batch["token_level_rewards"].numpy()


EQUAL = [[score] * count for count in (2, 7, 8, 12, 16) for score in (0.9, 0.7, 0.3, 0.35, 0.95)]


@pytest.mark.parametrize("name", [name for name, needs in ADVANTAGES.items() if needs.relative])
def test_groups_without_variance_teach_nothing(name):
    """Exactly: divided by a deviation of nearly 0, what float32 leaves of the mean was up to 0.1, and whitened it was above 1.

    Beside a group that varies, estimators that whiten over the step shift all others by the mean over its tokens.
    """
    whitens = name in ("gdpo", "reinforce_plus_plus_baseline")
    scores = EQUAL if whitens else [*EQUAL, [0.9, 0.3]]
    parts = [[{"a": score} for score in own] for own in scores]
    scored_groups = [group(*own, parts=those) for own, those in zip(scores, parts, strict=True)]
    groups, rewards = trainable(scored_groups)
    options = {"reward_parts": {"a": 1.0}} if name == "gdpo" else {}
    dimensions = by_part(scored_groups, ["a"]) if name == "gdpo" else []
    found = estimate(stage(name, **options), groups, rewards, dimensions)
    assert not any(np.any(values) for values in found[: len(EQUAL)])
    assert whitens or np.all(found[-1]) or name == "grpo_passk"


def test_invalid_verdicts_are_neither_rewards_nor_statistics():
    groups, rewards = trainable([group(1.0, None, 0.0), group(None, 1.0), group(None, None)])
    assert [len(g.rollouts) for g in groups] == [2]
    np.testing.assert_array_equal(rewards[0], [1.0, 0.0])
    assert [r.token_ids[0] for r in groups[0].rollouts] == [3, 5]


def test_one_valid_verdict_is_enough_where_rollouts_are_not_compared():
    groups, rewards = trainable([group(1.0, None, 0.0), group(None, 1.0), group(None, None)], 1)
    assert [len(g.rollouts) for g in groups] == [2, 1]
    found = estimate(stage("reinforce_plus_plus"), groups, rewards)
    assert [len(values) for values in found] == [2, 1]
    assert estimate(stage("reinforce_plus_plus"), [], []) == []


def test_parts_of_verdicts_are_dimensions():
    good = group(1.0, None, 0.5, parts=[{"a": 1.0, "b/c": 0.5}, {}, {"a": 0.25, "b/c": 0.0, "more": 1.0}])
    (parts,) = by_part([good, group(None, 1.0)], ["b/c", "a"])
    np.testing.assert_array_equal(parts, [[0.5, 1.0], [0.0, 0.25]])
    assert [p.shape for p in by_part([good], [])] == [(2, 0)]
    with pytest.raises(
        RunError, match=r"a verdict of v on s/0 has no part 'more', which stages.N.reward_parts names; it has a, b/c"
    ):
        by_part([good], ["a", "more"])
    with pytest.raises(RunError, match=r"has no part 'a', .* it has none"):
        by_part([group(1.0, 0.0)], ["a"])
