"""What a dry run starts instead of the actors of a run."""

import importlib

import ray

from actors.process import visible_gpus


class StandIn:
    """Takes a slot, reads the module of the actor that belongs there, and says where it is."""

    def __init__(self, module: str) -> None:
        importlib.import_module(module)

    def where(self) -> tuple[str, tuple[str, ...]]:
        """The node's id, and the GPUs that the actor may use."""
        return ray.get_runtime_context().get_node_id(), visible_gpus()
