"""What a dry run starts instead of the actors of a run."""

import importlib

import ray


class StandIn:
    """Takes a slot, reads the module of the actor that belongs there, and says where it is."""

    def __init__(self, module: str) -> None:
        importlib.import_module(module)

    def where(self) -> tuple[str, list[int]]:
        """The node's id, and the GPUs that Ray gave."""
        return ray.get_runtime_context().get_node_id(), [int(gpu) for gpu in ray.get_gpu_ids()]
