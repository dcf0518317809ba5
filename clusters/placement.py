"""How many CPUs and GPUs each actor gets, and where."""

from collections.abc import Sequence
from dataclasses import dataclass

import ray
from ray.util.placement_group import PlacementGroup, placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from tower_rl.config.schema import Config, RlvrStage
from tower_rl.protocols import RunError


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of one actor."""

    role: str
    cpus: float
    gpus: float


def slots(config: Config, gpus: float) -> list[Slot]:
    """One slot an actor: engines, policy ranks, references, verification.

    With no GPU everything runs on CPUs. A single GPU is shared by one engine, one rank and one reference.

    Args:
        config: of the run.
        gpus: in the whole cluster.

    Raises:
        RunError: if the GPUs do not suffice.
    """
    needs_reference = any(isinstance(stage, RlvrStage) and stage.kl_coefficient > 0 for stage in config.stages)
    counts = {"rollout": config.rollout.engines, "policy": config.policy.workers}
    if needs_reference:
        counts["reference"] = config.reference.workers
    wanted = sum(n * (config.rollout.tensor_parallel if role == "rollout" else 1) for role, n in counts.items())
    shareable = config.rollout.engines == config.rollout.tensor_parallel == config.policy.workers == config.reference.workers == 1
    if 0 < gpus < wanted and not (gpus == 1 and shareable):
        raise RunError(
            f"the run needs {wanted} GPUs ({_shares(counts)}), the cluster has {gpus:.0f}; "
            "one GPU suffices for one engine, one policy rank and one reference"
        )
    share = 0.0 if gpus == 0 else min(1.0, gpus / wanted)
    result = [
        Slot(role, 1, share * (config.rollout.tensor_parallel if role == "rollout" else 1))
        for role, n in counts.items()
        for _ in range(n)
    ]
    return [*result, Slot("verification", 1, 0)]


def gpus_for_ranks(ranks: int) -> bool:
    """Whether the ranks of a supervised stage get a GPU each; with none in the cluster they compute on CPUs.

    Raises RunError when there are some, but not enough.
    """
    gpus = available_gpus()
    if 0 < gpus < ranks:
        raise RunError(f"the run needs {ranks} GPUs (policy.workers), the cluster has {gpus:.0f}")
    return gpus > 0


def available_gpus() -> float:
    """GPUs of the connected cluster."""
    return float(ray.cluster_resources().get("GPU", 0))


def reserve(places: Sequence[Slot], timeout_s: float) -> PlacementGroup:
    """Resources for all slots at once, on one node: weights travel through its shared memory.

    Raises:
        RunError: if the cluster cannot give them in time (Ray itself would wait for ever).
    """
    bundles = [{k: v for k, v in (("CPU", s.cpus), ("GPU", s.gpus)) if v} for s in places]
    group = placement_group(bundles, strategy="STRICT_PACK")
    if not group.wait(timeout_s):
        have = ray.cluster_resources()
        raise RunError(
            f"no place for the actors within {timeout_s:.0f} s: they need {sum(s.cpus for s in places):.0f} CPUs and "
            f"{sum(s.gpus for s in places):.0f} GPUs, the cluster has {have.get('CPU', 0):.0f} and {have.get('GPU', 0):.0f}"
        )
    return group


def options(group: PlacementGroup, places: Sequence[Slot], role: str) -> list[dict[str, object]]:
    """Ray options of each actor of a role, in order."""
    return [
        {
            "num_cpus": slot.cpus,
            "num_gpus": slot.gpus,
            "scheduling_strategy": PlacementGroupSchedulingStrategy(placement_group=group, placement_group_bundle_index=i),
        }
        for i, slot in enumerate(places)
        if slot.role == role
    ]


def _shares(counts: dict[str, int]) -> str:
    return ", ".join(f"{n} {role}" for role, n in counts.items())
