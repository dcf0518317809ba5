"""Places a stand-in for each actor of a run on the cluster, and says where they came to stand. Loads no model."""

import asyncio
from collections import defaultdict
from typing import Any

import ray

from actors.group import call_all, spawn
from actors.stand_in import StandIn
from clusters.connect import connect
from clusters.environment import engine_env, rank_env
from clusters.placement import Layout, available_gpus, layout, options, reserve, slots
from tower_rl.config.schema import Config
from tower_rl.protocols import RunError

MODULES = {
    "rollout": "actors.rollout",
    "policy": "actors.policy",
    "reference": "actors.reference",
    "reward": "actors.reward",
    "verification": "actors.verification",
}


def dry_run(config: Config) -> str:
    """Reserve the bundles of the run, start stand-ins in them, end all again.

    Returns:
        one line a bundle: role, number of actors, node, GPUs.

    Raises:
        RunError: if there is no Ray, or too little of it within cluster.placement_timeout_s.
    """
    with connect(config.cluster, len(slots(config, 0))):
        gpus = available_gpus()
        planned = layout(slots(config, gpus), config.cluster.gpus_per_node)
        if gpus == 0 and not layout(slots(config, 1e9), config.cluster.gpus_per_node).one_node:
            needed = sum(slot.gpus for slot in slots(config, 1e9))
            raise RunError(f"the run needs {needed:.0f} GPUs on several nodes, the cluster has none")
        group = reserve(planned, config.cluster.placement_timeout_s)
        try:
            return asyncio.run(_stood(config, planned, group))
        finally:
            ray.util.remove_placement_group(group)


async def _stood(config: Config, planned: Layout, group: Any) -> str:
    handles: list[Any] = []
    places: list[tuple[str, int]] = []
    bundle_of = planned.bundle_of()
    for role in dict.fromkeys(slot.role for slot in planned.places):
        indices = [i for i, slot in enumerate(planned.places) if slot.role == role]
        for number, (index, placed) in enumerate(zip(indices, options(group, planned, role), strict=True)):
            env = _env(config, role, len(indices), bool(placed["num_gpus"]))
            handles.append(spawn(StandIn, f"{role}-{number}", placed, env, MODULES[role]))
            places.append((role, bundle_of[index]))
    try:
        pending = [handle.where.remote() for handle in handles]
        found = await call_all("stand-in", config.cluster.placement_timeout_s, pending)
    finally:
        for handle in handles:
            ray.kill(handle)
    return _report(places, found)


def _env(config: Config, role: str, count: int, on_gpu: bool) -> dict[str, str]:
    if role == "rollout":
        return engine_env(config)
    if role == "verification":
        return {}
    return rank_env(count, on_gpu)


def _report(places: list[tuple[str, int]], found: list[tuple[str, list[int]]]) -> str:
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
    bundles: dict[tuple[int, str], list[tuple[str, list[int]]]] = defaultdict(list)
    for (role, bundle), stood in zip(places, found, strict=True):
        bundles[bundle, role].append(stood)
    lines = [
        f"bundle {bundle}: {len(stood)} x {role} on node {stood[0][0][:8]} ({addresses[stood[0][0]]}), "
        f"GPUs {', '.join(str(gpu) for _, gpus in stood for gpu in gpus) or 'none'}"
        for (bundle, role), stood in sorted(bundles.items())
    ]
    nodes = len({node for node, _ in found})
    return "\n".join([*lines, f"all {len(found)} actors were placed, on {nodes} node{'s' * (nodes > 1)}; nothing is left"])
