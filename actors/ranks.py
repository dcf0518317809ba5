"""Actors that are the ranks of one process group: how they meet."""

import os
import socket
from collections.abc import Sequence

import ray

from actors.group import Actor, call, call_all
from actors.stalled import Limit


def free_address() -> tuple[str, int]:
    """This host and a free port of it, for ranks to meet at."""
    with socket.socket() as probe:
        probe.bind(("", 0))
        return ray.util.get_node_ip_address(), probe.getsockname()[1]


def enter(rank: int, world: int, address: tuple[str, int], threads: int) -> None:
    """Make this process a rank: whatever joins torch.distributed afterwards meets the others at the address."""
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": "0",  # Ray shows each actor its own devices only
        "WORLD_SIZE": str(world),
        "MASTER_ADDR": address[0],
        "MASTER_PORT": str(address[1]),
    }
    import torch

    torch.set_num_threads(threads)


async def start_together(waited_for: str, limit: Limit, actors: Sequence[Actor]) -> None:
    """Start all ranks, which have the methods `address` and `start`; they meet at an address of the first.

    Raises:
        DeadlineExceeded, WorkerLost, RunError: as actors.group.call.
    """
    address = await call(f"{waited_for} 0", limit, actors[0].handle.address.remote())
    await call_all(f"start of {waited_for}", limit, [actor.handle.start.remote(address) for actor in actors], actors)
