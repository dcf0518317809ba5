"""What a dry run starts instead of the actors of a run."""

import importlib

import ray

from actors.process import visible_gpus


class StandIn:
    """Takes a slot, reads the module of the actor that belongs there, and says where it is."""

    def __init__(self, module: str, guest: bool) -> None:
        """`guest` if it works on the GPUs of others, which it was told."""
        self.guest = guest
        importlib.import_module(module)

    def where(self) -> tuple[str, tuple[str, ...]]:
        """The node's id, and the GPUs that the actor may use."""
        return ray.get_runtime_context().get_node_id(), visible_gpus() if self.guest or ray.get_gpu_ids() else ()
