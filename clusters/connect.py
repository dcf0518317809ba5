"""The connection to Ray."""

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray

from tower_rl.config.job import in_ray_job
from tower_rl.config.schema import Cluster
from tower_rl.protocols import RunError
from tower_rl.stopping import terminable


@contextmanager
def connect(cluster: Cluster, cpus_needed: int) -> Iterator[str]:
    """A Ray for the time of a run: a new one, or the one that the configuration names. In a Ray job `local` is the job's cluster.

    Args:
        cluster: of the configuration.
        cpus_needed: slots of a run on this machine; its actors take turns on the cores, so there may be more than cores.

    Yields:
        the dashboard's address, or an empty string.

    Raises:
        RunError: if there is no Ray at the address.
    """
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    # Workers of Ray give way to all others (niceness 15): beside two busy threads a step took five times as long as alone.
    os.environ.setdefault("RAY_worker_niceness", "0")
    for noisy in ("ray.data", "ray.train"):
        logging.getLogger(noisy).setLevel(logging.ERROR)
    address = "auto" if cluster.address == "local" and in_ray_job() else cluster.address
    common: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
    try:
        if address == "local":
            context = ray.init(
                address="local",
                num_cpus=max(os.cpu_count() or 1, cpus_needed),
                include_dashboard=True,
                object_store_memory=512 * 2**20,
                _temp_dir=os.path.join(tempfile.gettempdir(), "tower-rl-ray"),
                **common,
            )
        else:
            context = ray.init(address=address, **common)
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise RunError(f"cluster.address {address}: no Ray there ({str(error).splitlines()[0]})") from error
    with terminable():  # ray.init leaves a handler of SIGTERM that ends the process with code 15
        try:
            yield context.dashboard_url or ""
        finally:
            ray.shutdown()
