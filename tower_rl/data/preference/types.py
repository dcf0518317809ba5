"""What pairs are made of.

    Prompt --sample, or given by the data--> Candidates --score--> Candidates --select--> Pair

Whatever does not become part of a pair becomes a Reject with its reason.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from tower_rl.types import Prompt, Rollout, StopReason

POLICY = "policy"
"""How the origins of the policy's own answers begin."""
OFF_POLICY = "off_policy"
"""Stands for all origins but the policy."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """One answer to a prompt."""

    text: str
    """The answer without its end-of-turn token."""
    token_ids: tuple[int, ...]
    """The answer with its end-of-turn token; all that is said about length here counts these."""
    origin: str
    """Who made it: `policy@VERSION`, or the name that the data give, e.g. `post_edit`, `machine`, `model:NAME`."""
    scores: Mapping[str, float]
    """What each scorer said, by its name."""
    score: float | None
    """The one that counts; None where there is none."""
    reason: str = ""
    """Why there is none, or what the scorer remarked."""
    stop_reason: StopReason = StopReason.STOP


@dataclass(frozen=True, slots=True)
class Candidates:
    """A prompt and the answers that compete."""

    prompt: Prompt
    candidates: tuple[Candidate, ...]


@dataclass(frozen=True, slots=True)
class Pair:
    """A prompt, and the answer preferred to another."""

    prompt: Prompt
    chosen: Candidate
    rejected: Candidate

    @property
    def length_gap(self) -> int:
        """Tokens that the chosen answer has more than the rejected one."""
        return len(self.chosen.token_ids) - len(self.rejected.token_ids)

    @property
    def score_gap(self) -> float | None:
        """How much higher the chosen answer scores; None unless both have a score."""
        if self.chosen.score is None or self.rejected.score is None:
            return None
        return self.chosen.score - self.rejected.score


def sampled(rollout: Rollout) -> Candidate:
    """A sample of the policy, not yet scored; its version is that of the oldest weights that made a token of it."""
    return Candidate(
        text=rollout.text,
        token_ids=tuple(rollout.token_ids.tolist()),
        origin=f"{POLICY}@{min(rollout.policy_versions.tolist(), default=0)}",
        scores={},
        score=None,
        reason="not scored",
        stop_reason=rollout.stop_reason,
    )


def as_rollout(candidate: Candidate) -> Rollout:
    """An answer in the form in which samples are scored and packed; nobody says how probable it was."""
    length = len(candidate.token_ids)
    nothing = np.zeros(length, np.float32)
    return Rollout(
        np.array(candidate.token_ids, np.int64), nothing, candidate.text, candidate.stop_reason, np.zeros(length, np.int64)
    )


def is_policy(origin: str) -> bool:
    """Whether the policy made it, in any of its versions."""
    return origin.partition("@")[0] == POLICY


def matches(origin: str, name: str) -> bool:
    """Whether a name means an origin: `policy` means `policy@3`, `model` means `model:x`, OFF_POLICY all but the policy."""
    if name == OFF_POLICY:
        return not is_policy(origin)
    return origin == name or origin.startswith((f"{name}@", f"{name}:"))


def allowed(origin: str, names: Sequence[str]) -> bool:
    """Whether one of the names means the origin; no names mean all."""
    return not names or any(matches(origin, name) for name in names)
