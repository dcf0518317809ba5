"""How many CPUs and GPUs each actor gets, and where."""

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import ray
from ray.util.placement_group import PlacementGroup, placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from tower_rl.config.job import in_ray_job
from tower_rl.config.schema import Config, RewardModel, Stage
from tower_rl.config.stages import PreferenceStage, RlvrStage
from tower_rl.protocols import RunError

PLENTY = 1e9
"""GPUs that suffice for any run."""


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one actor."""

    role: str
    cpus: float
    gpus: float
    beside: int | None = None
    """Index of the slot on whose GPU, and those of the slots after it, this actor works too: it has none of its own."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Which actors share a bundle, that is a part of one node."""

    places: Sequence[Slot]
    bundles: Sequence[tuple[int, ...]]
    """Indices of slots; each slot is in one bundle."""
    one_node: bool
    """Whether all bundles must be on the same node, through whose memory weights travel fastest."""

    def resources(self) -> list[dict[str, float]]:
        """What each bundle asks Ray for."""
        asked = [(sum(self.places[i].cpus for i in b), sum(self.places[i].gpus for i in b)) for b in self.bundles]
        return [{k: v for k, v in (("CPU", cpus), ("GPU", gpus)) if v} for cpus, gpus in asked]

    def role(self, bundle: int) -> str:
        """Of the actors that a bundle is for."""
        return self.places[self.bundles[bundle][0]].role

    def of(self, role: str) -> list[int]:
        """Indices of the slots of a role."""
        return [i for i, slot in enumerate(self.places) if slot.role == role]

    def bundle_of(self) -> dict[int, int]:
        """Index of its bundle, by index of a slot."""
        return {slot: index for index, bundle in enumerate(self.bundles) for slot in bundle}


def layout(places: Sequence[Slot], gpus_per_node: int) -> Layout:
    """One bundle an actor, all on one node, where that has GPUs enough; else one bundle an engine, and one a node of ranks.

    A bundle is never split: an engine's tensor-parallel GPUs are on one node, and the ranks of policy and reference fill nodes.
    Engines that work on the GPUs of ranks are in their bundles.

    Raises:
        RunError: if an engine needs more GPUs than a node has.
    """
    one_node = sum(slot.gpus for slot in places) <= gpus_per_node
    if any(slot.gpus > gpus_per_node for slot in places) and not one_node:
        raise RunError(f"rollout.tensor_parallel is more than the {gpus_per_node} GPUs of a node (cluster.gpus_per_node)")
    bundles: list[tuple[int, ...]] = []
    for role in dict.fromkeys(slot.role for slot in places):
        own = [i for i, slot in enumerate(places) if slot.role == role and slot.beside is None]
        together = gpus_per_node if role in ("policy", "reference") and not one_node else 1
        bundles += [tuple(own[start : start + together]) for start in range(0, len(own), together)]
    guests = {i: slot.beside for i, slot in enumerate(places) if slot.beside is not None}
    return Layout(places, [b + tuple(i for i, host in guests.items() if host in b) for b in bundles], one_node)


def slots(config: Config, gpus: float) -> list[Slot]:
    """One slot an actor: engines, policy ranks, references, reward models (in the order of `verifiers`), verification.

    Only those that the stages need.

    With no GPU everything runs on CPUs. A single GPU is shared by one engine, one rank, one reference and one reward model.

    Args:
        config: of the run.
        gpus: in the whole cluster.

    Raises:
        RunError: if the GPUs do not suffice.
    """
    asked = _asked(config)
    wanted = sum(n * own for n, own in asked.values())
    if 0 < gpus < wanted and not (gpus == 1 and _shares_one(asked)):
        wide = {f"{role} of {own} GPUs" if own > 1 else role: n for role, (n, own) in asked.items() if own}
        raise RunError(
            f"the run needs {wanted} GPUs ({_shares(wide)}), the cluster has {gpus:.0f}; "
            "one GPU suffices for one engine, one policy rank, one reference and one reward model"
        )
    share = 0.0 if gpus == 0 else min(1.0, gpus / wanted)
    width, colocated = config.rollout.tensor_parallel, config.rollout.colocated
    result = [
        Slot(role, 1, share * own, n + i * width if role == "rollout" and colocated else None)
        for role, (n, own) in asked.items()
        for i in range(n)
    ]
    return [*result, Slot("verification", 1, 0)]


def _asked(config: Config) -> dict[str, tuple[int, int]]:
    """Actors by role that the stages need, and GPUs of each; engines have none of their own where they are colocated."""
    counts = {"policy": config.policy.workers}
    if any(_samples(stage) for stage in config.stages):
        counts = {"rollout": config.rollout.engines, **counts}
    if config.policy.lora is None and any(needs_reference(stage) for stage in config.stages):
        counts["reference"] = config.reference.workers
    if rewards := sum(isinstance(entry, RewardModel) for entry in config.verifiers.values()):
        counts["reward"] = rewards
    engine = 0 if config.rollout.colocated else config.rollout.tensor_parallel
    return {role: (n, engine if role == "rollout" else 1) for role, n in counts.items()}


def _shares_one(asked: Mapping[str, tuple[int, int]]) -> bool:
    """Whether a single GPU suffices: one actor of one GPU in each role."""
    return all(n * gpus == 1 for n, gpus in asked.values() if gpus)


def cluster_slots(config: Config) -> list[Slot]:
    """The slots of a run on the connected cluster.

    A run of several nodes has GPUs for all, and `reserve` waits for nodes that still join. One that fits on a node, or can share
    a single GPU, makes do with what is there.

    Raises RunError when the GPUs do not suffice and no others can join.
    """
    whole = slots(config, PLENTY)
    small = layout(whole, config.cluster.gpus_per_node).one_node or _shares_one(_asked(config))
    return whole if _may_grow(config) and not small else slots(config, available_gpus())


def gpus_for_ranks(config: Config) -> bool:
    """Whether the ranks of a supervised stage get a GPU each; with none in the cluster they compute on CPUs.

    Ranks of several nodes wait for nodes that still join, for `cluster.placement_timeout_s`.

    Raises RunError when there are some, but not enough.
    """
    ranks, wait = config.policy.workers, config.cluster.placement_timeout_s
    end = time.monotonic() + (wait if ranks > config.cluster.gpus_per_node and _may_grow(config) else 0)
    while (gpus := available_gpus()) < ranks and time.monotonic() < end:
        time.sleep(1)
    if 0 < gpus < ranks:
        raise RunError(f"the run needs {ranks} GPUs (policy.workers), the cluster has {gpus:.0f}")
    return gpus > 0


def _may_grow(config: Config) -> bool:
    """Whether nodes may join the cluster, which they do not where the run starts Ray itself."""
    return config.cluster.address != "local" or in_ray_job()


def available_gpus() -> float:
    """GPUs of the connected cluster."""
    return float(ray.cluster_resources().get("GPU", 0))


def reserve(planned: Layout, timeout_s: float) -> PlacementGroup:
    """Resources for all bundles at once: a run gets all of them or none, so two runs cannot each hold half of what both need.

    Raises:
        RunError: if the cluster cannot give them in time (Ray itself would wait for ever); it says what is missing by role.
    """
    group = placement_group(planned.resources(), strategy="STRICT_PACK" if planned.one_node else "PACK")
    if not group.wait(timeout_s):
        remove_placement_group(group)
        raise RunError(_shortage(planned, timeout_s))
    return group


def missing(planned: Layout, nodes: Sequence[Mapping[str, float]]) -> dict[str, int]:
    """Actors by role that find no place on empty nodes, the bundles with the most GPUs placed first.

    Args:
        planned: bundles of the run.
        nodes: CPU and GPU of each node.
    """
    free = [{kind: node.get(kind, 0) for kind in ("CPU", "GPU")} for node in nodes]
    asked = planned.resources()
    if planned.one_node:
        whole = {kind: sum(bundle.get(kind, 0) for bundle in asked) for kind in ("CPU", "GPU")}
        return {} if any(_fits(whole, node) for node in free) else dict(Counter(slot.role for slot in planned.places))
    lost: Counter[str] = Counter()
    for i in sorted(range(len(asked)), key=lambda i: -asked[i].get("GPU", 0)):
        taken = next((node for node in free if _fits(asked[i], node)), None)
        if taken is None:
            lost.update(planned.places[slot].role for slot in planned.bundles[i])
        else:
            taken.update({kind: taken[kind] - amount for kind, amount in asked[i].items()})
    return dict(lost)


def _fits(asked: Mapping[str, float], node: Mapping[str, float]) -> bool:
    return all(amount <= node[kind] for kind, amount in asked.items())


def _shortage(planned: Layout, timeout_s: float) -> str:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    lost = missing(planned, nodes)
    where = "on one node" if planned.one_node else f"in {len(planned.bundles)} bundles, each on one node"
    have = ", ".join(
        f"{n} x ({cpus:.0f} CPUs, {gpus:.0f} GPUs)"
        for (cpus, gpus), n in Counter((node.get("CPU", 0), node.get("GPU", 0)) for node in nodes).items()
    )
    why = f"no place for {_shares(lost)}" if lost else "they would fit, but others use them"
    return (
        f"no place for the actors within {timeout_s:.0f} s: they need {sum(s.cpus for s in planned.places):.0f} CPUs and "
        f"{sum(s.gpus for s in planned.places):.0f} GPUs {where}; the cluster has the nodes {have}: {why}"
    )


def options(group: PlacementGroup, planned: Layout, role: str) -> list[dict[str, object]]:
    """Ray options of each actor of a role, in order."""
    bundle_of = planned.bundle_of()
    return [
        {
            "num_cpus": slot.cpus,
            "num_gpus": slot.gpus,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(group, placement_group_bundle_index=bundle_of[i]),
        }
        for i, slot in ((i, planned.places[i]) for i in planned.of(role))
    ]


def _samples(stage: Stage) -> bool:
    return isinstance(stage, RlvrStage) or (isinstance(stage, PreferenceStage) and stage.samples)


def needs_reference(stage: Stage) -> bool:
    """Whether a stage compares the policy with the model that it starts from."""
    if isinstance(stage, PreferenceStage):
        return stage.needs_reference
    return isinstance(stage, RlvrStage) and stage.kl_coefficient > 0


def _shares(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {role}" for role, n in counts.items())
