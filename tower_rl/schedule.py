"""Learning rate over a stage."""

import math

from tower_rl.config.schema import Policy


def learning_rate(policy: Policy, step: int, total: int) -> float:
    """Learning rate of one step.

    Args:
        policy: peak, warm-up and shape.
        step: 0-based.
        total: steps of the stage.
    """
    if step < policy.warmup_steps:
        return policy.learning_rate * (step + 1) / policy.warmup_steps
    progress = (step - policy.warmup_steps) / max(1, total - policy.warmup_steps)
    shapes = {
        "constant": 1.0,
        "linear": 1.0 - progress,
        "cosine": 0.5 * (1 + math.cos(math.pi * progress)),
        "wsd": min(1.0, (total - step) / max(1, policy.decay_steps)),
        "inverse_sqrt": math.sqrt(max(1, policy.warmup_steps) / max(1, step)),  # without a warm-up as with one of a step
    }
    return policy.learning_rate * shapes[policy.schedule]
