"""What the machines of a run multiply matrices with."""

from typing import Any

import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from actors.group import get
from actors.stalled import Limit
from clusters.connect import connect
from clusters.placement import PLENTY, layout, slots
from tower_rl.config.job import in_ray_job
from tower_rl.config.schema import Config
from tower_rl.models.precision import Products, measure

MEASURED_WITHIN = Limit(120.0, "")
"""Torch is imported on each node."""


def machines(config: Config) -> list[Products]:
    """Measure the machines that a run computes on: this one, or the nodes of its cluster, those with GPUs where there are some.

    Returns:
        one entry a machine; none where the run needs GPUs of several nodes and no such node has joined yet.

    Raises:
        RunError: if there is no Ray at the address, or a node does not answer.
    """
    if config.cluster.address == "local" and not in_ray_job():
        return [measure()]
    with connect(config.cluster, 0):
        nodes = [node for node in ray.nodes() if node["Alive"]]
        with_gpus = [node for node in nodes if node["Resources"].get("GPU", 0) > 0]
        if not with_gpus and not layout(slots(config, PLENTY), config.cluster.gpus_per_node).one_node:
            return []
        with_cpus = [node for node in nodes if node["Resources"].get("CPU", 0) > 0]
        return measured(with_gpus or with_cpus)


def measured(nodes: list[dict[str, Any]]) -> list[Products]:
    """Measure each of these nodes of the connected cluster."""
    task: Any = ray.remote(num_cpus=0)(measure)
    pending = [
        task.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(node["NodeName"])
        for node in nodes
    ]
    return get("matrix products of the nodes", MEASURED_WITHIN, pending)
