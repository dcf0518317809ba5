"""--dry-run on simulated clusters, whose nodes say that they have GPUs."""

import os
import re
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from clusters.placement import layout, slots
from tower_rl.config.load import load

ROOT = Path(__file__).parents[2]
CONFIG = "configs/rlvr_72b.yaml"
SMALL = ("rollout.engines=1", "rollout.tensor_parallel=2", "reference.workers=1", "cluster.gpus_per_node=2")
BUNDLE = re.compile(r"^bundle (\d+): (\d+) x (\w+) on node (\w+) \(\S+\), GPUs (.*)$", re.M)

pytestmark = [pytest.mark.ray, pytest.mark.slow]


SMALL_STORE = {"object_store_memory": 80 * 2**20}


@contextmanager
def cluster_of(nodes, gpus, spare_cpus=1):
    """A head without GPUs and nodes with some, as processes of this machine."""
    head = SMALL_STORE | {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        for _ in range(nodes):
            cluster.add_node(num_cpus=gpus + spare_cpus, num_gpus=gpus, **SMALL_STORE)
        yield cluster
    finally:
        cluster.shutdown()


@contextmanager
def simulated(nodes, gpus, spare_cpus=1):
    """The address of such a cluster."""
    with cluster_of(nodes, gpus, spare_cpus) as cluster:
        yield cluster.address


def dry_run(address, *overrides):
    """Exit code, output, errors and seconds."""
    start = time.monotonic()
    command = [sys.executable, "-m", "tower_rl.run", CONFIG, "--dry-run", f"cluster.address={address}", *overrides]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr, time.monotonic() - start


def placed(output):
    """Role, actors, node and GPUs of each bundle."""
    return [(role, int(n), node, gpus) for _, n, role, node, gpus in BUNDLE.findall(output)]


@pytest.fixture(scope="module")
def joined():
    """A cluster to which three nodes came one by one while a run waited, and what that run said.

    A batch system and an autoscaler start the driver when the head answers.
    """
    with cluster_of(nodes=0, gpus=2) as cluster, ThreadPoolExecutor() as pool:
        running = pool.submit(dry_run, cluster.address, *SMALL, "policy.workers=3", "cluster.placement_timeout_s=200")
        for seconds in (12, 4, 4):  # the driver connects within the first
            time.sleep(seconds)
            assert not running.done(), running.result()
            cluster.add_node(num_cpus=3, num_gpus=2, **SMALL_STORE)
        yield cluster.address, running.result()


def test_nodes_that_still_join_are_waited_for(joined) -> None:
    code, output, errors, _ = joined[1]
    assert code == 0, errors
    assert "all 6 actors were placed, on 3 nodes" in output


def test_bundles_are_placed_on_nodes(joined) -> None:
    found = placed(joined[1][1])
    assert [(role, n) for role, n, *_ in found] == [
        ("rollout", 1),
        ("policy", 2),
        ("policy", 1),
        ("reference", 1),
        ("verification", 1),
    ]
    nodes = [node for *_, node, _ in found]
    assert len({nodes[0], nodes[1], nodes[2]}) == 3 and nodes[2] == nodes[3]
    assert found[0][3] == found[1][3] == "0, 1"


def test_a_cluster_that_is_too_small(joined) -> None:
    address, _ = joined
    code, output, errors, _ = dry_run(address, *SMALL, "policy.workers=4", "cluster.placement_timeout_s=5")
    assert (code, output) == (1, "")
    assert "no place for the actors within 5 s: they need 7 CPUs and 7 GPUs in 5 bundles" in errors
    nodes, _, missing = errors.partition("the cluster has the nodes ")[2].partition(": ")
    assert set(re.findall(r"\d+ x \(.*?\)", nodes)) == {"1 x (1 CPUs, 0 GPUs)", "3 x (3 CPUs, 2 GPUs)"}
    assert missing.startswith("no place for 1 reference")

    overrides = ["rollout.engines=1", "rollout.tensor_parallel=3", "policy.workers=2", "reference.workers=1"]
    code, output, errors, seconds = dry_run(address, *overrides, "cluster.gpus_per_node=3", "cluster.placement_timeout_s=5")
    assert (code, output) == (1, "")
    assert "no place for the actors within 5 s" in errors and "no place for 1 rollout" in errors
    assert "Traceback" not in errors
    assert seconds < 60

    code, output, errors, _ = dry_run(address, *SMALL, "policy.workers=3", "cluster.placement_timeout_s=100")
    assert code == 0, f"what failed before has left its claims behind: {errors}"


def test_colocated_engines_stand_on_the_gpus_of_their_ranks() -> None:
    colocated = ("rollout.engines=2", "rollout.tensor_parallel=2", "rollout.colocated=true", "policy.workers=4")
    with simulated(nodes=2, gpus=4, spare_cpus=2) as address:
        code, output, errors, _ = dry_run(address, *colocated, "reference.workers=4", "cluster.gpus_per_node=4")
    assert code == 0, errors
    (ranks, engines, references, verification) = placed(output)
    assert ranks[:2] == ("policy", 4) and engines[:2] == ("rollout", 2)
    assert references[:2] == ("reference", 4) and verification[:2] == ("verification", 1)
    assert ranks[2] == engines[2] != references[2]
    assert sorted(ranks[3].split(", ")) == ["0", "1", "2", "3"]
    assert engines[3] == ranks[3], "each engine has the GPUs of two ranks, in order"


def test_all_of_the_configuration_at_72b() -> None:
    config = load(str(ROOT / CONFIG))
    planned = layout(slots(config, 1e9), config.cluster.gpus_per_node)
    with simulated(nodes=8, gpus=8) as address:
        code, output, errors, _ = dry_run(address, "cluster.placement_timeout_s=200")
    assert code == 0, errors
    found = placed(output)
    assert Counter(role for role, *_ in found) == Counter(planned.role(i) for i in range(len(planned.bundles)))
    assert sum(n for _, n, *_ in found) == len(planned.places) == 51
    assert len({node for role, _, node, _ in found if role != "verification"}) == 8, "each of these bundles has a node to itself"
    assert all(gpus == "0, 1, 2, 3, 4, 5, 6, 7" for role, *_, gpus in found if role != "verification")
