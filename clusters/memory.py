"""How many bytes a rank, an engine and a node need. Real passes are held against them by tests/clusters/test_memory.py.

P parameters, D hidden size, F intermediate size, V vocabulary, N ranks, T tokens of a micro-batch. Dtypes are those of
tower_rl.models.engine: weights and activations in bfloat16 or float32, optimizer and gradient sums in float32.
"""

from clusters.shapes import Shape
from tower_rl.config.schema import Policy
from tower_rl.models.zero import REDUCED, effective_stage

GIB = 2**30

LIVE, PREFETCHED = 1_000_000_000, 50_000_000
"""Elements that DeepSpeed keeps gathered, and gathers ahead, at ZeRO 3 (its defaults of `stage3_max_live_parameters` and
`stage3_prefetch_bucket_size`)."""


def training_states(shape: Shape, policy: Policy, width: int) -> dict[str, float]:
    """Bytes of a rank that stand for the whole run (ZeRO, arXiv:1910.02054, figure 1).

    Stage 1 divides the optimizer's states by N, stage 2 the gradients too, stage 3 the weights too. Weights in float32 are their
    own master weights.

    Args:
        shape: of the model.
        policy: ranks, ZeRO stage, adapters.
        width: bytes of a weight.

    Returns:
        weights, gradients (float32 sums; in the weights' dtype at stage 0), optimizer (two moments, and float32
        master weights of bfloat16 ones).
    """
    trained = shape.parameters if policy.lora is None else shape.adapters(policy.lora.rank)
    held = shape.parameters + (0 if policy.lora is None else trained)
    stage, ranks = effective_stage(policy, width, policy.workers), policy.workers
    return {
        "weights": held * width / (ranks if stage == 3 else 1),
        "gradients": trained * (width if stage == 0 else 4) / (ranks if stage >= 2 else 1),
        "optimizer": trained * (8 if width == 4 else 12) / (ranks if stage >= 1 else 1),
    }


def layer_activations(shape: Shape, tokens: int, width: int) -> tuple[float, float]:
    """Bytes that one layer keeps for its backward pass: outside attention, and in it.

    In the manner of arXiv:2205.05198, section 4, without dropout: a norm keeps its input in float32, the normalized input and the
    output (Gemma's multiplies in float32, and only two of its four outputs are kept, by the linear layers that they enter); the
    MLP its gate, the activated gate, the other half and their product; attention rotated queries, keys, values, and its output.
    """
    queries, keys = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    norms = shape.norms * 8 + 2 * width if shape.norms == 4 else shape.norms * (4 + 2 * width)
    outside = tokens * (norms * shape.hidden + 4 * shape.norms + 4 * width * shape.intermediate)
    return outside, tokens * width * (2 * queries + 2 * keys)


def step_peak(shape: Shape, policy: Policy, width: int) -> dict[str, float]:
    """Bytes of a rank that come on top of its states in an update, at the worst of three moments.

    Two are those of `pass_peak`. In the third the last gradients are there: they are reduced in the weights' dtype (stage 2), or
    copied in float32 for the optimizer's step or for being reduced (stages 0 and 3); one rank with float32 weights is spared it.

    What DeepSpeed 0.19 adds to ZeRO's states, found by measuring: at stage 1 gradients in bfloat16 stand beside their float32
    sums until the step; at stages 2 and 3, and with float32 weights at stage 1, there is a buffer for gradients, as large as the
    model or `REDUCED`; at stage 3 what was gathered stands twice for a while, as it came and in the parameters' shape.

    Args:
        shape: of the model.
        policy: tokens of a micro-batch, chunk, checkpointing, ZeRO stage, ranks, adapters.
        width: bytes of a weight and of an activation.
    """
    trained = shape.parameters if policy.lora is None else shape.adapters(policy.lora.rank)
    stage, reduced = effective_stage(policy, width, policy.workers), min(REDUCED, trained) * width
    alone = policy.workers == 1 and width == 4
    beside = (0 if alone else 4 * trained, 0, reduced, 4 * trained / policy.workers)
    in_passes = pass_peak(shape, policy, width) | _beside_passes(shape, stage, trained, width)
    bucket = {"reduction bucket": reduced} if stage >= 2 or (stage, width) == (1, 4) else {}
    return max(in_passes, {"gradients on their way": beside[stage]}, key=_total) | bucket


def pass_peak(shape: Shape, policy: Policy, width: int, rows: int | None = None) -> dict[str, float]:
    """Bytes that a forward and backward pass makes, at the worse of two moments.

    The backward pass begins in the head: all that was kept, the gradient of the head (a float32 sum and, in bfloat16, the
    product that is added to it), the logits of a chunk. Then come the layers: with checkpointing one layer in full again, the
    gradients inside its MLP (3 F and D a token), and the gradient of a tied head, which waits for that of the embedding. Gemma's
    norms have two more gradients in float32 (found by measuring).

    Args:
        shape: of the model.
        policy: tokens of a micro-batch, chunk, checkpointing, adapters.
        width: bytes of a weight and of an activation.
        rows: of a chunk whose float32 scores stand at once; on a GPU all of them.
    """
    tokens = policy.tokens_per_micro_batch
    outside, inside = layer_activations(shape, tokens, width)
    gemma = shape.norms == 4
    last = tokens * ((8 + width if gemma else 4 + 2 * width) * shape.hidden + 4)  # the norm before the head
    inner = tokens * (width * (3 * shape.intermediate + shape.hidden) + (8 * shape.hidden if gemma else 0))
    inputs = shape.layers * tokens * shape.hidden * width
    kept = (inputs, 0.0) if policy.gradient_checkpointing else (shape.layers * outside, shape.layers * inside)
    full = (outside, inside) if policy.gradient_checkpointing else (0.0, 0.0)
    in_head = {
        "activations": kept[0] + last,
        "attention": kept[1],
        "gradient of the head": shape.embedding * (4 if width == 4 else 4 + width) if policy.lora is None else 0,
        "logits of a chunk": logits(shape, policy.logprob_chunk, rows, width),
    }
    in_layers = {
        "activations": kept[0] + last + full[0] + inner,
        "attention": kept[1] + full[1],
        "gradient of the head": shape.embedding * width if shape.tied and policy.lora is None else 0,
    }
    return max(in_head, in_layers, key=_total)


def _total(kinds: dict[str, float]) -> float:
    return sum(kinds.values())


def _beside_passes(shape: Shape, stage: int, trained: int, width: int) -> dict[str, float]:
    """What stands in forward and backward passes because of the ZeRO stage."""
    if (stage, width) == (1, 2):
        return {"gradients before they are summed": trained * width}
    if stage < 3:
        return {}
    largest = max(shape.hidden * shape.intermediate, shape.embedding)  # modules are gathered one by one
    live, coming = (min(shape.parameters, max(most, largest)) for most in (LIVE, PREFETCHED))
    return {"gathered": live * width, "gathered, as it came": coming * width}


def logits(shape: Shape, chunk: int, rows: int | None, width: int) -> float:
    """Bytes of a chunk's logits, and of the scores and probabilities in float32 of `rows` of them (None: all)."""
    return shape.vocabulary * (chunk * width + (chunk if rows is None else rows) * 8)


def engine_weights(shape: Shape, tensor_parallel: int, width: int) -> float:
    """Bytes of a GPU for an engine's weights."""
    return shape.parameters * width / tensor_parallel


def kv_tokens(shape: Shape, free: float, tensor_parallel: int) -> float:
    """Tokens whose keys and values fit into `free` bytes of each of an engine's GPUs; heads are divided among them."""
    return free / (shape.kv_bytes / min(tensor_parallel, shape.kv_heads))


def reference_states(shape: Shape, ranks: int, zero_stage: int, tokens: int, chunk: int, width: int) -> dict[str, float]:
    """Bytes of a rank of the reference: it computes no gradients, and keeps one layer's activations at a time."""
    sharded = zero_stage == 3
    matrices = 1 if shape.tied else 2
    outside, inside = layer_activations(shape, tokens, width)
    return {
        "weights": shape.parameters * width / (ranks if sharded else 1),
        "one layer's activations": outside + inside,
        "gathered layers": 2 * shape.layer * width if sharded else 0,
        "embedding and head": matrices * shape.embedding * width if sharded else 0,
        "logits of a chunk": logits(shape, chunk, None, width),
    }


def loading_host(shape: Shape, ranks: int, zero_stage: int, width: int) -> float:
    """Bytes of host memory of a node while `ranks` of it load: whole copies, or at stage 3 one tensor at a time."""
    largest = max(shape.hidden * shape.intermediate, shape.embedding)
    return ranks * width * (largest if zero_stage == 3 else shape.parameters)


def checkpoint(shape: Shape, policy: Policy, width: int) -> float:
    """Bytes of one checkpoint: the exported model, the weights and the optimizer's states."""
    trained = shape.parameters if policy.lora is None else shape.adapters(policy.lora.rank)
    masters = width == 2 or effective_stage(policy, width, policy.workers) > 0
    return shape.parameters * width * 2 + trained * (12 if masters else 8)
