"""Learning-rate shapes."""

import pytest
import torch
from transformers import get_inverse_sqrt_schedule, get_wsd_schedule

from tower_rl.config.schema import Policy
from tower_rl.schedule import learning_rate


def rates(total, **options):
    policy = Policy(learning_rate=1.0, **options)
    return [learning_rate(policy, step, total) for step in range(total)]


@pytest.mark.parametrize(
    ("shape", "last"), [("constant", 1.0), ("linear", 0.1), ("cosine", 0.0245), ("wsd", 1.0), ("inverse_sqrt", 0.4264)]
)
def test_shapes(shape, last):
    found = rates(12, schedule=shape, warmup_steps=2)
    assert found[:3] == [0.5, 1.0, 1.0]
    assert found[-1] == pytest.approx(last, abs=1e-3)
    assert found[2:] == sorted(found[2:], reverse=True)


def test_wsd_decays_over_the_last_steps_alone():
    found = rates(10, schedule="wsd", warmup_steps=2, decay_steps=4)
    assert found == [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]


def test_inverse_sqrt_halves_when_the_steps_are_fourfold():
    found = rates(101, schedule="inverse_sqrt", warmup_steps=4)
    assert found[:5] == [0.25, 0.5, 0.75, 1.0, 1.0]
    assert (found[16], found[64], found[100]) == (0.5, 0.25, 0.2)


def test_inverse_sqrt_without_warmup_starts_at_the_peak():
    assert rates(10, schedule="inverse_sqrt")[:5] == [1.0, 1.0, pytest.approx(2**-0.5), pytest.approx(3**-0.5), 0.5]
    assert rates(10, schedule="inverse_sqrt") == rates(10, schedule="inverse_sqrt", warmup_steps=1)


def library_rates(schedule, total, **options):
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    scheduler = schedule(optimizer, **options)
    found = []
    for _ in range(total):
        found.append(scheduler.get_last_lr()[0])
        optimizer.step()
        scheduler.step()
    return found


def test_behind_the_warmup_as_in_transformers():
    """Its warm-up starts at zero and reaches the peak a step later; behind that the definitions are the same."""
    wsd = library_rates(get_wsd_schedule, 50, num_warmup_steps=5, num_decay_steps=20, num_training_steps=50, decay_type="linear")
    assert rates(50, schedule="wsd", warmup_steps=5, decay_steps=20)[5:] == pytest.approx(wsd[5:], rel=1e-12)
    inverse_sqrt = library_rates(get_inverse_sqrt_schedule, 50, num_warmup_steps=5)
    assert rates(50, schedule="inverse_sqrt", warmup_steps=5)[5:] == pytest.approx(inverse_sqrt[5:], rel=1e-12)
