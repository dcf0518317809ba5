"""Verifiers behind Ray."""

import pytest
from helpers import prompt, rollout

from actors.group import spawn
from actors.verification import PoolSize, Verification, VerificationActor, pools
from tower_rl.config.schema import CompositeVerifier, LeafVerifier
from tower_rl.types import Group

pytestmark = pytest.mark.ray

ENTRIES = {
    "rules": LeafVerifier(use="constraints"),
    "sums": LeafVerifier(use="math", options={"last_number": True}),
    "both": CompositeVerifier(gates=["rules"], weights={"sums": 1.0}),
    "own": LeafVerifier(use="constraints", workers=1, memory_mib=1024, cache=True),
    "either": CompositeVerifier(max_of=["own", "sums"], watched=["rules"]),
}


def group(verifier, *texts):
    import dataclasses

    rollouts = tuple(dataclasses.replace(rollout([5], [-1]), text=t) for t in texts)
    return Group(prompt([1], verifier=verifier, reference="7", meta={"rules": [{"rule": "lowercase"}]}), rollouts)


@pytest.fixture(scope="module")
def pool(cluster, logs):
    made = pools(ENTRIES, PoolSize(1, 2048))
    log = logs / "verification.log"
    actor = spawn(VerificationActor, "verification", log, {}, {}, made, str(logs / "verdicts.sqlite"), str(log))
    return Verification(actor, ENTRIES, 120, {})


async def test_each_rollout_gets_its_verdict(pool):
    scored = await pool.verify(group("rules", "all small", "ALL BIG"))
    assert [v.score for v in scored.verdicts] == [1.0, 0.0]
    assert {v.verifier for v in scored.verdicts} == {"rules"}


async def test_gates_multiply(pool):
    scored = await pool.verify(group("both", "it is 7", "IT IS 7", "it is 8"))
    assert [v.score for v in scored.verdicts] == [1.0, 0.0, 0.0]
    assert scored.verdicts[0].parts == {"rules": 1.0, "rules/0.lowercase": 1.0, "sums": 1.0}


async def test_a_maximum_with_a_pool_of_its_own_and_a_cache(pool, logs):
    for _ in range(2):
        scored = await pool.verify(group("either", "it is 7", "IT IS 8"))
        assert [v.score for v in scored.verdicts] == [1.0, 0.0]
        assert scored.verdicts[0].parts["rules"] == 1.0
    assert (logs / "verdicts.sqlite").stat().st_size > 0


def test_pools_by_size():
    (shared, together), (size, own) = pools(ENTRIES, PoolSize(3, 2048))
    assert (shared.workers, sorted(together)) == (3, ["rules", "sums"])
    assert (size, list(own)) == (PoolSize(1, 1024), ["own"])
    assert own["own"].cached
    assert own["own"].version
    assert not together["rules"].version
