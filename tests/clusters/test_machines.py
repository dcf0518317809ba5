"""Machines of a cluster that differ in what they multiply: two simulated nodes, of which one is held to AVX2."""

import json
import subprocess
import sys

import pytest
from processes import ROOT
from ray.cluster_utils import Cluster

from tower_rl.models.precision import Products, choose, measure

pytestmark = [pytest.mark.ray, pytest.mark.slow]

SMALL = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
PROGRAM = """
import dataclasses, json, sys
from clusters.machines import machines
from tower_rl.config.load import load

print(json.dumps([dataclasses.asdict(each) for each in machines(load(sys.argv[1], sys.argv[2:]))]))
"""
"""In a process of its own: this one may be connected to the Ray of other tests."""


@pytest.fixture(scope="module")
def asked():
    """What the nodes of such a cluster answer, by configuration."""
    cluster = Cluster(initialize_head=True, head_node_args=SMALL | {"include_dashboard": False, "node_name": "new"})
    try:
        cluster.add_node(**SMALL, node_name="old", env_vars={"ONEDNN_MAX_CPU_ISA": "AVX2"})

        def of(name):
            keys = [f"cluster.address={cluster.address}", "run.dir=/tmp/run"]
            command = [sys.executable, "-c", PROGRAM, f"configs/{name}.yaml", *keys]
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=200)
            assert done.returncode == 0, done.stderr
            return [Products(**each) for each in json.loads(done.stdout.splitlines()[-1])]

        yield of
    finally:
        cluster.shutdown()


def test_each_node_is_measured_and_the_slowest_kind_decides(asked):
    found = {each.machine: each for each in asked("demo")}
    assert set(found) == {"new", "old"}
    assert found["new"].reported == measure().reported
    assert found["old"].reported is False
    chosen = choose(list(found.values()))
    assert chosen.dtype == "float32"
    assert "old" in chosen.reason and "of 2 nodes" in chosen.reason


def test_a_run_that_needs_gpus_of_several_nodes_waits_for_them(asked):
    assert asked("rlvr_72b") == []
