"""Learning-rate shapes."""

import pytest

from tower_rl.config.schema import Policy
from tower_rl.schedule import learning_rate


@pytest.mark.parametrize(("shape", "last"), [("constant", 1.0), ("linear", 0.1), ("cosine", 0.0245)])
def test_shapes(shape, last):
    policy = Policy(learning_rate=1.0, schedule=shape, warmup_steps=2)
    rates = [learning_rate(policy, step, 12) for step in range(12)]
    assert rates[:3] == [0.5, 1.0, 1.0]
    assert rates[-1] == pytest.approx(last, abs=1e-3)
    assert rates[2:] == sorted(rates[2:], reverse=True)
