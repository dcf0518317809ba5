"""Seconds that a step may take on GPUs. Every figure that is not arithmetic is an assumption, and named as such."""

from dataclasses import dataclass

from clusters import memory
from clusters.shapes import Shape
from tower_rl.config.schema import Config
from tower_rl.config.stages import RlvrStage


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What nobody has measured for this project: replace them by figures of the cluster at hand."""

    flops: float = 989e12
    """Dense bfloat16 FLOP/s of an H100 (data sheet); an H200's are the same."""
    mfu: float = 0.35
    """Share of them that training and scoring reach."""
    memory_bandwidth: float = 3.35e12
    """Bytes/s of an H100's memory (data sheet)."""
    decode_efficiency: float = 0.5
    """Share of it that decoding reaches."""
    mean_length: float = 0.5
    """Mean length of prompts and of responses, as a share of the longest."""
    shared_memory: float = 4e9
    """Bytes/s from rank 0 through /dev/shm into engines of the same node."""
    object_stores: float = 1.5e9
    """Bytes/s from rank 0 through Ray's object stores into engines of other nodes."""
    storage: float = 2e9
    """Bytes/s that one node writes to the shared file system."""
    reserve: float = 5 * memory.GIB
    """Bytes of a GPU for CUDA, NCCL and what the allocator cannot use."""


ASSUMED = Assumptions()


@dataclass(frozen=True, slots=True)
class StepTimes:
    """Seconds of the phases of an RL step, and what they mean for the GPUs."""

    generation: float
    reference: float
    old_logprobs: float
    """A pass of the policy over the rollouts, which a loop that samples ahead takes to correct for their age."""
    recomputed: bool
    """Whether the synchronous loop takes it, too."""
    update: float
    sync: float
    engine_gpus: int
    """Of their own: none where they work on the policy's."""
    reference_gpus: int
    policy_gpus: int

    @property
    def synchronous(self) -> float:
        """One phase after the other."""
        return self.generation + self.reference + self.recomputed * self.old_logprobs + self.update + self.sync

    @property
    def asynchronous(self) -> float:
        """Generation beside everything else; nothing overlaps the sync."""
        return max(self.generation, self.reference + self.old_logprobs + self.update) + self.sync

    def idle(self, ahead: bool) -> float:
        """Share of all GPU seconds of a step in which a GPU waits for others, where steps are sampled ahead or not."""
        scored = self.old_logprobs if ahead or self.recomputed else 0.0
        sampled_there = 0.0 if self.engine_gpus else self.generation
        busy = (
            self.engine_gpus * (self.generation + self.sync)
            + self.reference_gpus * self.reference
            + self.policy_gpus * (sampled_there + scored + self.update + self.sync)
        )
        seconds = self.asynchronous if ahead else self.synchronous
        return 1 - busy / (seconds * (self.engine_gpus + self.reference_gpus + self.policy_gpus))


def tokens_per_step(config: Config, assumed: Assumptions = ASSUMED) -> float:
    """Mean tokens that an RL step trains on; a group's prompt counts once."""
    rollout = config.rollout
    response = rollout.max_new_tokens * assumed.mean_length
    return rollout.prompts_per_step * (rollout.group_size * response + config.data.max_prompt_tokens * assumed.mean_length)


def generation_seconds(config: Config, shape: Shape, width: int, kv_bytes: float, assumed: Assumptions = ASSUMED) -> float:
    """Decoding of a step's rollouts: each token reads the weights and the keys and values of the sequences beside it.

    Args:
        config: of the run.
        shape: of the model.
        width: bytes of a weight.
        kv_bytes: of each GPU, for keys and values.
        assumed: bandwidths and efficiencies.
    """
    rollout = config.rollout
    length = (rollout.max_new_tokens + config.data.max_prompt_tokens) * assumed.mean_length
    sequences = rollout.prompts_per_step * rollout.group_size / rollout.engines
    at_once = min(sequences, max(1.0, memory.kv_tokens(shape, kv_bytes, rollout.tensor_parallel) / length))
    read = (shape.parameters * width + at_once * length * shape.kv_bytes) / rollout.tensor_parallel
    computed = 2 * shape.parameters * at_once / rollout.tensor_parallel
    token = max(read / (assumed.memory_bandwidth * assumed.decode_efficiency), computed / (assumed.flops * assumed.mfu))
    return token * rollout.max_new_tokens * assumed.mean_length * sequences / at_once


def compute_seconds(shape: Shape, tokens: float, gpus: int, passes: int, assumed: Assumptions = ASSUMED) -> float:
    """Of `passes` forward passes' worth of work: 2 P FLOP a token each; forward and backward are 3, with recomputation 4."""
    return 2 * passes * shape.parameters * tokens / (gpus * assumed.flops * assumed.mfu)


def step_times(
    config: Config,
    stage: RlvrStage,
    shape: Shape,
    width: int,
    kv_bytes: float,
    references: int,
    sync: float,
    assumed: Assumptions = ASSUMED,
) -> StepTimes:
    """All phases of a step of the stage; `references` is the number of their GPUs, which may be 0."""
    policy, rollout = config.policy, config.rollout
    tokens = tokens_per_step(config, assumed)
    passes = 4 if policy.gradient_checkpointing else 3
    return StepTimes(
        generation=generation_seconds(config, shape, width, kv_bytes, assumed),
        reference=compute_seconds(shape, tokens, references, 1, assumed) if references else 0.0,
        old_logprobs=compute_seconds(shape, tokens, policy.workers, 1, assumed),
        recomputed=stage.mini_batches * stage.epochs > 1 or stage.correction is not None,
        update=compute_seconds(shape, tokens, policy.workers, passes * stage.epochs, assumed),
        sync=sync,
        engine_gpus=0 if rollout.colocated else rollout.engines * rollout.tensor_parallel,
        reference_gpus=references,
        policy_gpus=policy.workers,
    )
