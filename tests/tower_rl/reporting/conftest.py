"""Made-up values for the reporting tests."""

from collections.abc import Callable

import numpy as np
import pytest

from tower_rl.types import Prompt, Rollout, ScoredGroup, StopReason
from verifiers.types import Verdict, invalid, scored

GroupMaker = Callable[..., ScoredGroup]


@pytest.fixture
def make_group() -> GroupMaker:
    """A group of responses, each with a score or None (then its verdict is invalid)."""

    def make(prompt_id: str, verifier: str, *answers: tuple[str, float | None], prompt: str = "Say it.") -> ScoredGroup:
        rollouts = tuple(
            Rollout(np.array([7, 8, 2]), np.array([-0.5, -1.0, -0.25], np.float32), text, StopReason.STOP, np.array([3, 3, 4]))
            for text, _ in answers
        )
        verdicts: tuple[Verdict, ...] = tuple(
            invalid("lost") if score is None else scored(score, reason="so so", parts={"form": 0.5}, flags=("odd",))
            for _, score in answers
        )
        messages = ({"role": "user", "content": "first"}, {"role": "user", "content": prompt})
        return ScoredGroup(
            Prompt(prompt_id, messages, (1, 2), verifier, None, {}, f"source of {verifier}", 5), rollouts, verdicts
        )

    return make
