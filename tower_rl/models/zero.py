"""What of ZeRO's stages the trainer (tower_rl.models.engine) and the plan (clusters.memory) have to agree on."""

from tower_rl.config.schema import Policy

REDUCED = 500_000_000
"""Most elements of gradients that are reduced at once: DeepSpeed's default."""


def effective_stage(policy: Policy, width: int, ranks: int) -> int:
    """Choose the stage that DeepSpeed works at: the policy's, but 0 instead of 1 and 2 for one rank with float32 weights.

    There is nothing to divide, and gradients add up in float32 all the same. Stages 1 and 2 would copy all gradients four times
    a step: 12 bytes a parameter at once.

    Args:
        policy: says the stage.
        width: bytes of a weight.
        ranks: data-parallel.
    """
    return 0 if ranks == 1 and width == 4 and policy.zero_stage in (1, 2) else policy.zero_stage
