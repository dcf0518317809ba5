"""Reward models behind Ray: alone, in a composition, lost, late, and with nothing to load."""

import dataclasses
import math
import uuid

import pytest
import ray
from helpers import prompt, rollout

from actors.group import spawn
from actors.process import idle_env
from actors.reward import RewardActor, RewardVerifier
from actors.verification import PoolSize, Verification, VerificationActor, pools
from tower_rl.config.schema import CompositeVerifier, LeafVerifier, RewardModel
from tower_rl.models.reward import load_scorer
from tower_rl.protocols import DeadlineExceeded, RunError, WorkerLost
from tower_rl.types import Group
from verifiers import Status, Task

pytestmark = pytest.mark.ray

TEXTS = ("all small", "ALL BIG", "x " * 300)


def entries(folder):
    return {
        "liked": RewardModel(reward_model=str(folder), dtype="float32", max_tokens=256, width=2.0, timeout_s=120),
        "rules": LeafVerifier(use="constraints"),
        "both": CompositeVerifier(gates=["rules"], weights={"liked": 1.0}),
    }


def group(verifier, *texts):
    rollouts = tuple(dataclasses.replace(rollout([5], [-1]), text=t) for t in texts)
    return Group(prompt([1], verifier=verifier, meta={"rules": [{"rule": "lowercase"}]}), rollouts)


def actor(folder, logs, entry):
    log, name = logs / "reward-liked.log", f"reward-liked-{uuid.uuid4().hex}"
    made = spawn(RewardActor, name, log, {}, idle_env(1), "liked", str(folder), entry, 1, str(log))
    return RewardVerifier(made, "liked", entry)


@pytest.fixture(scope="module")
def pool(cluster, logs, tiny_reward):
    named = entries(tiny_reward)
    made = pools(named, PoolSize(1, 2048))
    verification = spawn(
        VerificationActor, "verification-reward", logs / "v.log", {}, {}, made, str(logs / "v.sqlite"), str(logs / "v.log")
    )
    return Verification(verification, named, 120, {"liked": actor(tiny_reward, logs, named["liked"])})


@pytest.fixture(scope="module")
def expected(tiny_reward):
    """Verdicts without Ray."""
    tasks = [Task("prompt 0", text, messages=({"role": "user", "content": "prompt 0"},)) for text in TEXTS]
    return load_scorer(tiny_reward, entries(tiny_reward)["liked"], "cpu").verdicts(tasks)


async def test_alone(pool, expected):
    await pool.ready()
    verdicts = (await pool.verify(group("liked", *TEXTS))).verdicts
    assert [v.score for v in verdicts[:2]] == pytest.approx([v.score for v in expected[:2]], abs=1e-6)
    assert all(0 < v.score < 1 and v.verifier == "liked" for v in verdicts[:2])
    assert (verdicts[2].status, verdicts[2].reason) == (Status.INVALID, expected[2].reason)
    assert "over-length" in verdicts[2].reason


async def test_behind_a_gate(pool, expected):
    await pool.ready()
    small, big, long = (await pool.verify(group("both", *TEXTS))).verdicts
    assert (small.score, big.score) == (pytest.approx(expected[0].score, abs=1e-6), 0.0)
    assert small.parts == {"rules": 1.0, "rules/0.lowercase": 1.0, "liked": small.score}
    assert "liked: reward " in small.reason
    reward = float(small.reason.partition("liked: reward ")[2])
    assert small.score == pytest.approx(1 / (1 + math.exp(-reward / 2)), abs=1e-5)
    assert (long.status, long.reason) == (Status.INVALID, "liked: " + expected[2].reason)


async def test_a_lost_actor_is_named(cluster, logs, tiny_reward):
    verifier = actor(tiny_reward, logs, entries(tiny_reward)["liked"])
    await verifier.ready()
    ray.kill(verifier.actor.handle)
    with pytest.raises(WorkerLost, match=r"reward model liked \(.*reward\) is lost"):
        await verifier.verdicts([Task("q", "a", messages=({"role": "user", "content": "q"},))])


async def test_a_late_actor_is_named(cluster, logs, tiny_reward):
    verifier = actor(tiny_reward, logs, entries(tiny_reward)["liked"].model_copy(update={"timeout_s": 0.01}))
    with pytest.raises(DeadlineExceeded, match=r"gave up waiting for start of reward model liked \("):
        await verifier.ready()
    ray.kill(verifier.actor.handle)


async def test_what_is_no_reward_model_ends_the_start(cluster, logs, tiny_model):
    verifier = actor(tiny_model, logs, entries(tiny_model)["liked"])
    with pytest.raises(RunError, match=r"^verifiers\.liked\.reward_model: the weights in .* lack score\.weight$"):
        await verifier.ready()
    await verifier.shutdown()
