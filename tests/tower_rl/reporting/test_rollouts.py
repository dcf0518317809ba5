from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tower_rl.reporting.rollouts import SCHEMA, read_rollouts, write_rollouts
from tower_rl.types import ScoredGroup

GroupMaker = Callable[..., ScoredGroup]


def test_every_rollout_is_a_row(tmp_path: Path, make_group: GroupMaker) -> None:
    path = tmp_path / "rollouts" / "step-4.parquet"
    write_rollouts(path, 4, [make_group("a", "rules", ("ja", 0.5), ("nein", None))], [[1.5, None]])
    first, second = read_rollouts(path)
    assert first == {
        "step": 4,
        "prompt_id": "a",
        "cursor": 5,
        "source": "source of rules",
        "verifier": "rules",
        "prompt": "Say it.",
        "response": "ja",
        "stop_reason": "stop",
        "token_ids": [7, 8, 2],
        "logprobs": [-0.5, -1.0, -0.25],
        "policy_version_min": 3,
        "policy_version_max": 4,
        "score": 0.5,
        "reward": 0.5,
        "passed": False,
        "status": "scored",
        "reason": "so so",
        "parts": {"form": 0.5},
        "flags": ["odd"],
        "seconds": 0.0,
        "advantage": 1.5,
    }
    nothing = (None, None, "invalid", "lost", None)
    assert (second["score"], second["passed"], second["status"], second["reason"], second["advantage"]) == nothing
    assert [file.name for file in path.parent.iterdir()] == ["step-4.parquet"]


def test_advantages_must_match_and_a_failure_leaves_no_file(tmp_path: Path, make_group: GroupMaker) -> None:
    with pytest.raises(ValueError, match="shorter"):
        write_rollouts(tmp_path / "step-1.parquet", 1, [make_group("a", "rules", ("ja", 1.0), ("nein", 0.0))], [[1.0]])
    assert list(tmp_path.iterdir()) == []


def test_empty_responses_lone_surrogates_and_no_groups(tmp_path: Path, make_group: GroupMaker) -> None:
    group = make_group("a", "rules", ("\ud800", 1.0))
    empty = replace(group.rollouts[0], token_ids=np.array([], int), logprobs=np.array([]), policy_versions=np.array([], int))
    write_rollouts(tmp_path / "step-1.parquet", 1, [replace(group, rollouts=(empty,))], [[0.0]])
    (row,) = read_rollouts(tmp_path / "step-1.parquet")
    assert (row["response"], row["token_ids"], row["policy_version_min"]) == ("?", [], None)
    write_rollouts(tmp_path / "step-2.parquet", 2, [], [])
    assert read_rollouts(tmp_path / "step-2.parquet") == []
    assert len(SCHEMA) == len(row)
