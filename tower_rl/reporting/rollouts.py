"""The scored rollouts of a step, as parquet: one row a rollout. Steps count from 0."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tower_rl.files import replacing
from tower_rl.reporting.text import storable
from tower_rl.types import Prompt, Rollout, ScoredGroup
from verifiers.types import Verdict

SCHEMA = pa.schema(
    [
        ("step", pa.int64()),
        ("prompt_id", pa.string()),
        ("cursor", pa.int64()),
        ("source", pa.string()),
        ("verifier", pa.string()),
        ("prompt", pa.string()),
        ("response", pa.string()),
        ("stop_reason", pa.string()),
        ("token_ids", pa.list_(pa.int32())),
        ("logprobs", pa.list_(pa.float32())),
        ("policy_version_min", pa.int64()),
        ("policy_version_max", pa.int64()),
        ("score", pa.float64()),
        ("reward", pa.float64()),
        ("passed", pa.bool_()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("parts", pa.string()),
        ("flags", pa.list_(pa.string())),
        ("seconds", pa.float64()),
        ("advantage", pa.float64()),
    ]
)


def write_rollouts(
    path: Path, step: int, scored_groups: Sequence[ScoredGroup], advantages: Sequence[Sequence[float | None]]
) -> None:
    """Writes the rollouts of a step; `advantages` has one number a rollout, group by group, None where it was not trained on.

    Raises ValueError when the advantages do not match the groups.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, compression="zstd") as writer:
        for group, numbers in zip(scored_groups, advantages, strict=True):  # one by one: a step may be gigabytes
            writer.write_table(pa.Table.from_pylist(list(_rows(step, group, numbers)), schema=SCHEMA))


def read_rollouts(path: Path) -> list[dict[str, Any]]:
    """The rows of such a file, `parts` as a dict again."""
    rows = pq.read_table(path).to_pylist()
    return [row | {"parts": json.loads(row["parts"])} for row in rows]


def last_user_message(prompt: Prompt) -> str:
    """What the model was asked: the content of the last user message."""
    return next(message["content"] for message in reversed(prompt.messages) if message["role"] == "user")


def _rows(step: int, group: ScoredGroup, advantages: Sequence[float | None]) -> Iterator[dict[str, Any]]:
    for rollout, verdict, reward, advantage in zip(group.rollouts, group.verdicts, group.rewards, advantages, strict=True):
        yield (
            {"step": step, "reward": reward, "advantage": advantage}
            | _prompt(group.prompt)
            | _rollout(rollout)
            | _verdict(verdict)
        )


def _prompt(prompt: Prompt) -> dict[str, Any]:
    return {
        "prompt_id": prompt.id,
        "cursor": prompt.cursor,
        "source": prompt.source,
        "verifier": prompt.verifier,
        "prompt": storable(last_user_message(prompt)),
    }


def _rollout(rollout: Rollout) -> dict[str, Any]:
    versions = rollout.policy_versions
    return {
        "response": storable(rollout.text),
        "stop_reason": rollout.stop_reason.value,
        # Arrays as they are: a list of numbers takes ten times their memory.
        "token_ids": rollout.token_ids.astype(np.int32, copy=False),
        "logprobs": rollout.logprobs,
        # A response without tokens has no versions; null says so.
        "policy_version_min": int(versions.min()) if len(versions) else None,
        "policy_version_max": int(versions.max()) if len(versions) else None,
    }


def _verdict(verdict: Verdict) -> dict[str, Any]:
    return {
        "score": verdict.score,
        "passed": verdict.passed,
        "status": verdict.status.value,
        "reason": storable(verdict.reason),
        "parts": json.dumps(dict(verdict.parts)),
        "flags": list(map(storable, verdict.flags)),
        "seconds": verdict.seconds,
    }
