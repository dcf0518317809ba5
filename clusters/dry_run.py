"""Places a stand-in for each actor of a run on the cluster, and says where they came to stand. Loads no model."""

import asyncio
import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from actors.group import Actor, call_all, spawn
from actors.process import rank_env
from actors.stalled import Limit
from actors.stand_in import StandIn
from clusters.connect import connect
from clusters.environment import engine_env, engine_gpus, threads_each
from clusters.placement import PLENTY, Layout, cluster_slots, layout, options, reserve, slots
from tower_rl.config.schema import Config
from tower_rl.protocols import RunError

_Stood = tuple[str, tuple[str, ...]]
"""The node and the GPUs of an actor."""

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
        planned = layout(cluster_slots(config), config.cluster.gpus_per_node)
        whole = layout(slots(config, PLENTY), config.cluster.gpus_per_node)
        if not whole.one_node and not any(slot.gpus for slot in planned.places):
            needed = sum(slot.gpus for slot in whole.places)
            raise RunError(f"the run needs {needed:.0f} GPUs on several nodes, the cluster has none")
        group = reserve(planned, config.cluster.placement_timeout_s)
        try:
            return asyncio.run(_stood(config, planned, group))
        finally:
            ray.util.remove_placement_group(group)


async def _stood(config: Config, planned: Layout, group: Any) -> str:
    actors: list[Actor] = []
    stood: dict[int, _Stood] = {}
    alone = [i for i, slot in enumerate(planned.places) if slot.beside is None]
    guests = [i for i, slot in enumerate(planned.places) if slot.beside is not None]
    try:
        for wave in (alone, guests):  # guests must be told the GPUs of their hosts
            started = [_stand_in(config, planned, group, i, stood) for i in wave]
            actors += started
            pending = [actor.handle.where.remote() for actor in started]
            limit = Limit(config.cluster.placement_timeout_s, "cluster.placement_timeout_s")
            stood |= zip(wave, await call_all("stand-in", limit, pending), strict=True)
    finally:
        for actor in actors:
            ray.kill(actor.handle)
    return _report(planned, [stood[i] for i in range(len(planned.places))])


def _stand_in(config: Config, planned: Layout, group: Any, index: int, stood: Mapping[int, _Stood]) -> Actor:
    role = planned.places[index].role
    slots_ = planned.of(role)
    number = slots_.index(index)
    placed = options(group, planned, role)[number]
    env: dict[str, str] = {}
    shared: Sequence[str] = ()
    if planned.places[index].beside is not None:
        shared = engine_gpus(config, [stood[i][1] for i in planned.of("policy")])[number]
    if role == "rollout":
        env = engine_env(config, number, shared)
    elif role != "verification":
        env = rank_env(threads_each(config, len(slots_)), bool(placed["num_gpus"]))
    return spawn(StandIn, f"{role}-{number}", Path(os.devnull), placed, env, MODULES[role], bool(shared))


def _report(planned: Layout, found: Sequence[_Stood]) -> str:
    addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
    bundle_of = planned.bundle_of()
    bundles: dict[tuple[int, str], list[_Stood]] = defaultdict(list)
    for i, (slot, stood) in enumerate(zip(planned.places, found, strict=True)):
        bundles[bundle_of[i], slot.role].append(stood)
    lines = [
        f"bundle {bundle}: {len(stood)} x {role} on node {stood[0][0][:8]} ({addresses[stood[0][0]]}), "
        f"GPUs {', '.join(gpu for _, gpus in stood for gpu in gpus) or 'none'}"
        for (bundle, role), stood in sorted(bundles.items())
    ]
    nodes = len({node for node, _ in found})
    return "\n".join([*lines, f"all {len(found)} actors were placed, on {nodes} node{'s' * (nodes > 1)}; nothing is left"])
