"""Machines of a cluster that differ in what they multiply: two simulated nodes, of which one is held to AVX2."""

import pytest
import ray
from ray.cluster_utils import Cluster

from clusters.machines import machines
from tower_rl.config.load import load
from tower_rl.models.precision import choose, measure

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}


@pytest.fixture(scope="module")
def address():
    assert not ray.is_initialized()
    cluster = Cluster(initialize_head=True, head_node_args=SMALL | {"include_dashboard": False, "node_name": "new"})
    cluster.add_node(**SMALL, node_name="old", env_vars={"ONEDNN_MAX_CPU_ISA": "AVX2"})
    yield cluster.address
    cluster.shutdown()


def test_each_node_is_measured_and_the_slowest_kind_decides(address):
    found = {
        each.machine: each for each in machines(load("configs/demo.yaml", [f"cluster.address={address}", "run.dir=/tmp/run"]))
    }
    assert set(found) == {"new", "old"}
    assert found["new"].reported == measure().reported
    assert found["old"].reported is False
    chosen = choose(list(found.values()))
    assert chosen.dtype == "float32"
    assert "old" in chosen.reason and "of 2 nodes" in chosen.reason and "GFLOP/s" in chosen.reason


def test_a_run_that_needs_gpus_of_several_nodes_waits_for_them(address):
    found = machines(load("configs/rlvr_72b.yaml", [f"cluster.address={address}"]))
    assert found == [] and choose(found).dtype == "bfloat16"
