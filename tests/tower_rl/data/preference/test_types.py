"""Samples as candidates, and the names of origins."""

import numpy as np
import pytest

from tower_rl.data.preference.types import Candidate, is_policy, matches, sampled
from tower_rl.types import Rollout, StopReason


def test_a_rollout_as_a_candidate():
    ids = np.array([4, 5, 2])
    rollout = Rollout(ids, np.zeros(3, np.float32), "Ja", StopReason.LENGTH, np.array([3, 3, 4]))
    assert sampled(rollout) == Candidate("Ja", (4, 5, 2), "policy@3", {}, None, "not scored", StopReason.LENGTH)
    nothing = Rollout(ids[:0], np.zeros(0, np.float32), "", StopReason.STOP, ids[:0])
    assert sampled(nothing).origin == "policy@0"


@pytest.mark.parametrize(
    ("origin", "name", "answer"),
    [
        ("policy@3", "policy", True),
        ("policy@3", "policy@3", True),
        ("policy@31", "policy@3", False),
        ("policy_x", "policy", False),
        ("model:x", "model", True),
        ("model:x", "model:x", True),
        ("model:xy", "model:x", False),
        ("machine", "off_policy", True),
        ("policy@3", "off_policy", False),
    ],
)
def test_names_and_origins(origin, name, answer):
    assert matches(origin, name) is answer
    assert is_policy(origin) is (origin in ("policy@3", "policy@31"))
