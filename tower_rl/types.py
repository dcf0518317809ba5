"""The values that flow through a run, in the order in which they are made.

    Prompt --generate--> Group --verify--> ScoredGroup --advantage, assemble--> Batch --update--> StepResult

Every value is frozen; each step adds a value and changes none. Glossary of shapes:

    G  rollouts of one prompt          T  response tokens of one rollout (ragged; padded to the longest in a micro-batch)
    B  rollouts of one micro-batch     N  tokens of one micro-batch     M  response tokens of one micro-batch
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from verifiers.types import Verdict

Ints = npt.NDArray[np.signedinteger[Any]]
"""Of 64 bits, or of 32, where there are many: tokens of a step and their places."""
Floats = npt.NDArray[np.float32]
Bools = npt.NDArray[np.bool_]

Advantages = Floats | Sequence[Floats]
"""Of a group: [G] one a rollout, or for each rollout [T] one a token."""


class StopReason(StrEnum):
    """Why a rollout ended."""

    STOP = "stop"
    """The model emitted a stop token, which is the last of the rollout's tokens."""
    LENGTH = "length"
    """The token limit cut the rollout."""


@dataclass(frozen=True, slots=True)
class Prompt:
    """One candidate of the prompt stream: rendered and tokenized once, scored by one named verifier."""

    id: str
    """Stable name of the row, e.g. `django/de/admin/17`; the same row has the same id in every epoch."""
    messages: tuple[Mapping[str, str], ...]
    """Chat messages, each with `role` and `content`."""
    token_ids: tuple[int, ...]
    """The messages through the chat template, with the generation prompt."""
    verifier: str
    """The name of an entry of the configuration's `verifiers`."""
    reference: Any
    """What the verifier compares with; None where the rules alone decide."""
    meta: Mapping[str, Any]
    """JSON-like facts for the verifier (rules, languages, ...)."""
    source: str
    """The name of the entry of `data.sources` that it came from."""
    cursor: int
    """Position in the candidate stream, from 0: unique in a run, the same for the same seed."""
    language_pair: str | None = None
    """For example `en-de`; None for tasks that translate nothing."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """One sampled response."""

    token_ids: Ints
    """[T] response tokens, the stop token included."""
    logprobs: Floats
    """[T] log-probability of each token under the sampling distribution (after temperature)."""
    text: str
    """The response without its stop token."""
    stop_reason: StopReason
    policy_versions: Ints
    """[T] version of the weights that sampled each token."""


@dataclass(frozen=True, slots=True)
class Group:
    """A prompt and its G rollouts."""

    prompt: Prompt
    rollouts: tuple[Rollout, ...]


@dataclass(frozen=True, slots=True)
class ScoredGroup:
    """A group and one verdict for each of its rollouts."""

    prompt: Prompt
    rollouts: tuple[Rollout, ...]
    verdicts: tuple[Verdict, ...]
    penalties: tuple[float, ...] | None = None
    """What the length of each rollout takes off its reward; None: nothing."""

    @property
    def rewards(self) -> tuple[float | None, ...]:
        """What is learned from: each score less the penalty; None where the verdict is invalid."""
        penalties = self.penalties or (0.0,) * len(self.verdicts)
        return tuple(None if v.score is None else v.score - p for v, p in zip(self.verdicts, penalties, strict=True))


@dataclass(frozen=True, slots=True)
class MicroBatch:
    """Rollouts side by side for one forward pass: D segments, each a prompt or a response; a prompt stands once.

    A token sees the earlier tokens of its segment and all of the prompt that it answers.
    """

    token_ids: Ints
    """[N]"""
    position_ids: Ints
    """[N] from 0 in each prompt; each response goes on after its prompt."""
    offsets: Ints
    """[D + 1] first token of each segment, and N."""
    prefixes: Ints
    """[D] the segment that is the prompt of a response; -1 for prompts."""
    predictors: Ints
    """[M] place of the token whose hidden state predicts the response token."""
    targets: Ints
    """[M] the response tokens."""
    rows: Ints
    """[M] the rollout (0..B-1) of each response token."""
    columns: Ints
    """[M] its place (0..T-1) in that rollout."""
    mask: Bools
    """[B, T] True where there is a response token."""
    old_logprobs: Floats
    """[B, T] log-probabilities of the policy that sampled, or, with `rollout_logprobs`, of that at the beginning of the step; 0
    where the mask is False."""
    advantages: Floats
    """[B, T]"""
    rollout_ids: Ints
    """[B] place of each rollout in the step's flat list of trained rollouts."""
    reference_logprobs: Floats | None = None
    """[B, T], or None when no KL term is asked for."""
    rollout_logprobs: Floats | None = None
    """[B, T] log-probabilities of the policy that sampled, where `old_logprobs` are the trainer's own."""


@dataclass(frozen=True, slots=True)
class Batch:
    """The micro-batches of one data-parallel rank; every rank of a step has the same number of them."""

    micro_batches: tuple[MicroBatch, ...]
    global_tokens: int
    """Response tokens over all ranks: the denominator of token means."""
    global_rollouts: int
    """Rollouts over all ranks: the denominator of sequence means."""
    temperature: float
    """Sampling temperature; the trainer divides logits by it."""
    divergence: float = 0.0
    """For kto: mean log-ratio of policy and reference over answers to prompts of other pairs."""


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one optimizer step reports, already reduced over ranks."""

    loss: float
    grad_norm: float
    learning_rate: float
    tokens: int
    """Tokens that went through forward and backward, shared prompts counted once."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """`kl`, `entropy`, `clip_share`, `mismatch/*`, ..."""


@dataclass(frozen=True, slots=True)
class Pack:
    """Whole documents side by side, at most `sequence_length` tokens; none sees another."""

    token_ids: Ints
    """[N]"""
    trained: Bools
    """[N] whether the token is learned (as a target); False at the first token of each document."""
    lengths: Ints
    """[D] tokens of each document, in order; they add up to N."""
    stream: str
    """`CORPUS/LANGUAGE`."""
    held_out: bool = False
    """Whether its documents are kept for validation."""

    @property
    def tokens(self) -> int:
        """N."""
        return len(self.token_ids)


@dataclass(frozen=True, slots=True)
class LmMicroBatch:
    """Documents of supervised training side by side for one forward pass: N tokens, of which M are learned, in D documents."""

    token_ids: Ints
    """[N]"""
    position_ids: Ints
    """[N] from 0 in each document."""
    offsets: Ints
    """[D + 1] first token of each document, and N."""
    predictors: Ints
    """[M] place of the token whose hidden state predicts the learned one."""
    targets: Ints
    """[M] the learned tokens."""
    streams: tuple[str, ...]
    """`CORPUS/LANGUAGE` of the documents."""
    stream_ids: Ints
    """[M] which of the streams a learned token is from."""


@dataclass(frozen=True, slots=True)
class LmResult:
    """What one optimizer step of supervised training reports, reduced over ranks."""

    loss: float
    """Mean negative log-probability of the learned tokens, in nats."""
    grad_norm: float
    learning_rate: float
    tokens: int
    """Tokens of all packs."""
    trained_tokens: int
    """Those that were learned."""
    flops_per_token: float
    """Floating-point operations that the model takes for a token, forward and backward."""
    peak_flops: float
    """Floating-point operations a second that all ranks together reached in matrix products of the model's dtype."""


@dataclass(frozen=True, slots=True)
class StreamLoss:
    """Validation loss of one stream: a sum over tokens, in nats, and how many they are."""

    total: float
    tokens: int
