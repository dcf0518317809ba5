"""Verifiers behind Ray."""

import pytest
from helpers import prompt, rollout

from actors.group import spawn
from actors.verification import Verification, VerificationActor, specs
from tower_rl.config.schema import CompositeVerifier, LeafVerifier
from tower_rl.types import Group

pytestmark = pytest.mark.ray

ENTRIES = {
    "rules": LeafVerifier(use="constraints"),
    "sums": LeafVerifier(use="math", options={"last_number": True}),
    "both": CompositeVerifier(gates=["rules"], weights={"sums": 1.0}),
}


def group(verifier, *texts):
    import dataclasses

    rollouts = tuple(dataclasses.replace(rollout([5], [-1]), text=t) for t in texts)
    return Group(prompt([1], verifier=verifier, reference="7", meta={"rules": [{"rule": "lowercase"}]}), rollouts)


@pytest.fixture(scope="module")
def pool(cluster, logs):
    handle = spawn(VerificationActor, {}, {}, specs(ENTRIES), 1, 2048, str(logs / "verification.log"))
    return Verification(handle, ENTRIES, 120)


async def test_each_rollout_gets_its_verdict(pool):
    scored = await pool.verify(group("rules", "all small", "ALL BIG"))
    assert [v.score for v in scored.verdicts] == [1.0, 0.0]
    assert {v.verifier for v in scored.verdicts} == {"rules"}


async def test_gates_multiply(pool):
    scored = await pool.verify(group("both", "it is 7", "IT IS 7", "it is 8"))
    assert [v.score for v in scored.verdicts] == [1.0, 0.0, 0.0]
    assert scored.verdicts[0].parts == {"rules": 1.0, "rules/0.lowercase": 1.0, "sums": 1.0}
