"""Memory and seconds of a run on GPUs, in words, and what to change where it does not fit."""

from dataclasses import dataclass, fields
from typing import Any

from clusters import memory
from clusters.estimates import ASSUMED, StepTimes, step_times, tokens_per_step
from clusters.placement import PLENTY, Layout, layout, slots
from clusters.shapes import KNOWN, Shape, shape_of
from tower_rl.config.rules import tokens_needed
from tower_rl.config.schema import Config, Policy
from tower_rl.config.stages import RlvrStage

GPUS = {"H100 80 GB": 79 * memory.GIB, "H200 141 GB": 139 * memory.GIB}
"""Bytes that such a GPU gives to a process."""


@dataclass(frozen=True, slots=True)
class _Sized:
    """A run whose model's sizes are known."""

    config: Config
    shape: Shape
    width: int
    planned: Layout
    roles: list[str]


def forecast(config: Config) -> list[str]:
    """The lines of the plan about nodes, memory and seconds."""
    planned = layout(slots(config, PLENTY), config.cluster.gpus_per_node)
    lines = ["", *_nodes(planned, config.cluster.gpus_per_node)]
    shape = shape_of(config.model)
    if shape is None:
        known = ", ".join(KNOWN)
        return [
            *lines,
            "",
            f"no memory and no seconds: the sizes of {config.model.path} are not known here (a folder, or {known})",
        ]
    dtype = "float32" if config.model.dtype == "float32" else "bfloat16"  # which `auto` is on such GPUs
    width = 4 if dtype == "float32" else 2
    sized = _Sized(config, shape, width, planned, list(dict.fromkeys(slot.role for slot in planned.places)))
    lines += ["", f"memory of a GPU in GiB, for {shape.parameters / 1e9:.2f} billion parameters in {dtype}"]
    lines += _policy(sized)
    if "reference" in sized.roles:
        lines += _reference(sized)
    if "rollout" in sized.roles:
        lines += _engines(sized)
    lines += ["", *_host(sized), *_checkpoint(sized)]
    if "rollout" in sized.roles:
        lines += _sync(sized)
        lines += [line for stage in config.stages if isinstance(stage, RlvrStage) for line in _step(sized, stage)]
    return [
        *lines,
        "",
        "assumed, not measured: " + ", ".join(f"{f.name} {getattr(ASSUMED, f.name):.3g}" for f in fields(ASSUMED)),
    ]


def node_count(planned: Layout, gpus_per_node: int) -> int:
    """Nodes that the bundles fill, those with the most GPUs placed first."""
    if planned.one_node:
        return 1
    free: list[float] = []
    for gpus in sorted((bundle.get("GPU", 0) for bundle in planned.resources()), reverse=True):
        place = next((i for i, left in enumerate(free) if left >= gpus), None)
        if place is None:
            free.append(gpus_per_node - gpus)
        else:
            free[place] -= gpus
    return len(free)


def policy_bytes(shape: Shape, policy: Policy, width: int) -> dict[str, float]:
    """Of one rank, by kind."""
    return memory.training_states(shape, policy, width) | memory.step_peak(shape, policy, width)


def changes(shape: Shape, policy: Policy, width: int, budget: float, fewest: int) -> dict[str, Any]:
    """Keys of the policy to change until a rank fits into `budget` bytes, with their new values; empty when it fits as it is, and
    when nothing that is tried helps.

    Args:
        shape: of the model.
        policy: as it is.
        width: bytes of a weight.
        budget: bytes that a GPU has.
        fewest: tokens that a micro-batch must hold.
    """
    tokens, ranks = policy.tokens_per_micro_batch, policy.workers
    tries: dict[str, list[Any]] = {
        "gradient_checkpointing": [True],
        "zero_stage": [3],
        "tokens_per_micro_batch": [tokens // n for n in (2, 4) if tokens // n >= fewest],
        "workers": [ranks * n for n in (2, 4, 8, 16, 32)],
    }

    def fits(changed: dict[str, Any]) -> bool:
        return sum(policy_bytes(shape, policy.model_copy(update=changed), width).values()) <= budget

    made: dict[str, Any] = {}
    for key, value in ((key, value) for key, values in tries.items() for value in values):
        if fits(made):
            break
        made |= {key: value}
    if not fits(made):
        return {}
    for key in [*made]:  # what a later change has made needless
        if fits({k: v for k, v in made.items() if k != key}):
            del made[key]
    return made


def _nodes(planned: Layout, gpus_per_node: int) -> list[str]:
    gpus = sum(slot.gpus for slot in planned.places)
    nodes = node_count(planned, gpus_per_node)
    lines = [f"on {nodes} node{'s' * (nodes > 1)} of {gpus_per_node} GPUs: {gpus:.0f} GPUs in one placement group"]
    for role in dict.fromkeys(slot.role for slot in planned.places):
        own = [b for i, b in enumerate(planned.resources()) if planned.role(i) == role]
        if not own:
            lines.append(f"  {role}: on GPUs of policy, asleep while it trains")
            continue
        sizes = " + ".join(f"{b.get('GPU', 0):.0f}" for b in own)
        lines.append(
            f"  {role}: {sum(b.get('GPU', 0) for b in own):.0f} GPUs in {len(own)} bundle{'s' * (len(own) > 1)} of {sizes}"
        )
    return lines


def _table(role: str, kinds: dict[str, float]) -> str:
    parts = ", ".join(f"{kind} {value / memory.GIB:.2f}" for kind, value in kinds.items() if value)
    return f"  {role}: {sum(kinds.values()) / memory.GIB:.2f} = {parts}"


def _fits(name: str, size: float, needed: float) -> str:
    free = (size - ASSUMED.reserve - needed) / memory.GIB
    return f"    {name}: " + (f"fits, {free:.1f} free" if free >= 0 else f"does NOT fit, {-free:.1f} too much")


def _policy(sized: _Sized) -> list[str]:
    policy = sized.config.policy
    kinds = policy_bytes(sized.shape, policy, sized.width)
    other = policy.model_copy(update={"gradient_checkpointing": not policy.gradient_checkpointing})
    else_ = memory.step_peak(sized.shape, other, sized.width)
    how = "without" if policy.gradient_checkpointing else "with"
    lines = [_table("policy", kinds)]
    lines.append(
        f"    {how} gradient checkpointing: activations {else_['activations'] / memory.GIB:.2f}, attention "
        f"{else_['attention'] / memory.GIB:.2f}"
    )
    fewest = max(tokens for _, tokens in tokens_needed(sized.config))
    for name, size in GPUS.items():
        lines.append(_fits(name, size, sum(kinds.values())))
        needed = changes(sized.shape, policy, sized.width, size - ASSUMED.reserve, fewest)
        if "workers" in needed and sized.config.rollout.colocated:
            needed["rollout.engines"] = needed["workers"] // sized.config.rollout.tensor_parallel
        if needed:
            words = (f"{key if '.' in key else f'policy.{key}'}={str(value).lower()}" for key, value in needed.items())
            lines[-1] += f"; change {' '.join(words)}"
    return lines


def _reference(sized: _Sized) -> list[str]:
    policy, reference = sized.config.policy, sized.config.reference
    kinds = memory.reference_states(
        sized.shape,
        reference.workers,
        reference.zero_stage,
        policy.tokens_per_micro_batch,
        policy.logprob_chunk,
        sized.width,
    )
    lines = [_table("reference", kinds)]
    for name, size in GPUS.items():
        lines.append(_fits(name, size, sum(kinds.values())))
        if sum(kinds.values()) > size - ASSUMED.reserve:
            lines[-1] += "; change " + ("reference.workers" if reference.zero_stage else "reference.zero_stage=3")
    return lines


def _kv_bytes(sized: _Sized, size: float) -> float:
    rollout = sized.config.rollout
    return size * rollout.gpu_memory_utilization - memory.engine_weights(sized.shape, rollout.tensor_parallel, sized.width)


def _engines(sized: _Sized) -> list[str]:
    rollout = sized.config.rollout
    weights = memory.engine_weights(sized.shape, rollout.tensor_parallel, sized.width)
    longest = sized.config.data.max_prompt_tokens + rollout.max_new_tokens
    lines = [f"  rollout: weights {weights / memory.GIB:.2f}; the rest of gpu_memory_utilization holds keys and values"]
    possible = _widths(sized)
    if rollout.tensor_parallel not in possible:
        known = ", ".join(map(str, possible))
        heads = f"{sized.shape.heads} heads, {sized.shape.kv_heads} of keys and values, are divided"
        return [f"  rollout: does NOT work, {heads}; change rollout.tensor_parallel to one of {known}"]
    change = f"rollout.gpu_memory_utilization, which is {rollout.gpu_memory_utilization:g}"
    if wider := [n for n in possible if n > rollout.tensor_parallel]:
        change = f"rollout.tensor_parallel={wider[0]}"
        if rollout.colocated:  # an engine stands on the GPUs of whole ranks
            change += f" rollout.engines={sized.config.policy.workers // wider[0]}"
    for name, size in GPUS.items():
        tokens = memory.kv_tokens(sized.shape, max(0.0, _kv_bytes(sized, size)), rollout.tensor_parallel)
        if tokens < longest:
            lines.append(f"    {name}: does NOT fit; change {change}")
        else:
            lines.append(f"    {name}: {tokens:,.0f} tokens, {tokens / longest:.0f} of the longest sequences at once")
    return [*lines, *_colocated(sized)] if rollout.colocated else lines


def _widths(sized: _Sized) -> list[int]:
    """Numbers of GPUs that an engine can have: vLLM divides heads among them, and those of keys and values, or repeats these."""
    heads, kv_heads = sized.shape.heads, sized.shape.kv_heads
    per_node, workers = sized.config.cluster.gpus_per_node, sized.config.policy.workers
    fit = [n for n in range(1, per_node + 1) if heads % n == 0 and (kv_heads % n == 0 or n % kv_heads == 0)]
    return [n for n in fit if per_node % n == 0 and workers % n == 0] if sized.config.rollout.colocated else fit


def _colocated(sized: _Sized) -> list[str]:
    """Whether engines that are awake fit beside what the policy holds between its updates."""
    states = sum(memory.training_states(sized.shape, sized.config.policy, sized.width).values())
    share = sized.config.rollout.gpu_memory_utilization
    lines = [f"  rollout beside the policy's states, {states / memory.GIB:.2f}, while it samples"]
    for name, size in GPUS.items():
        lines.append(_fits(name, size, states + share * size))
        most = (size - ASSUMED.reserve - states) / size
        if most < share:
            lines[-1] += f"; change rollout.gpu_memory_utilization={most:.2f}" if most >= 0.1 else "; change policy.workers"
    return lines


def _host(sized: _Sized) -> list[str]:
    policy, per_node = sized.config.policy, sized.config.cluster.gpus_per_node
    ranks = min(policy.workers, per_node)
    size = memory.loading_host(sized.shape, ranks, policy.zero_stage, sized.width)
    return [f"host memory while {ranks} ranks of a node load: {size / memory.GIB:.1f} GiB"]


def _checkpoint(sized: _Sized) -> list[str]:
    policy = sized.config.policy
    size = memory.checkpoint(sized.shape, policy, sized.width)
    nodes = -(-policy.workers // sized.config.cluster.gpus_per_node)
    # the export is written by rank 0 alone, the rest by all nodes
    exported = sized.shape.parameters * sized.width
    seconds = exported / ASSUMED.storage + (size - exported) / (nodes * ASSUMED.storage)
    return [f"a checkpoint: {size / memory.GIB:.1f} GiB, about {seconds:.0f} s"]


def _sync(sized: _Sized) -> list[str]:
    size = sized.shape.parameters * sized.width
    return [
        f"a weight sync: {size / memory.GIB:.1f} GiB; shared memory on one node {size / ASSUMED.shared_memory:.1f} s, "
        f"Ray's object stores between nodes {size / ASSUMED.object_stores:.1f} s"
    ]


def times(config: Config, stage: RlvrStage, shape: Shape, width: int) -> StepTimes:
    """Seconds of a step of the stage on H100s."""
    planned = layout(slots(config, PLENTY), config.cluster.gpus_per_node)
    sized = _Sized(config, shape, width, planned, [])
    references = sum(slot.role == "reference" for slot in planned.places)
    bandwidth = ASSUMED.shared_memory if planned.one_node else ASSUMED.object_stores
    kv = max(1.0, _kv_bytes(sized, GPUS["H100 80 GB"]))
    return step_times(config, stage, shape, width, kv, references, shape.parameters * width / bandwidth)


def _step(sized: _Sized, stage: RlvrStage) -> list[str]:
    found = times(sized.config, stage, sized.shape, sized.width)
    scored = f"old log-probabilities {found.old_logprobs:.1f} s, " if found.recomputed or stage.overlaps else ""
    line = (
        f"a step on H100: about {tokens_per_step(sized.config):,.0f} tokens; generation {found.generation:.1f} s, reference "
        f"{found.reference:.1f} s, {scored}update {found.update:.1f} s, sync {found.sync:.1f} s"
    )
    if sized.config.rollout.colocated:
        return [line, f"  synchronous, colocated {found.synchronous:.1f} s, GPUs idle {found.idle(ahead=False):.0%}"]
    gain = found.synchronous / found.asynchronous
    return [
        line,
        f"  synchronous {found.synchronous:.1f} s, GPUs idle {found.idle(ahead=False):.0%}; asynchronous "
        f"{found.asynchronous:.1f} s, idle {found.idle(ahead=True):.0%}: {gain:.2f} times as fast",
    ]
