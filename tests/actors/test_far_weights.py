"""Weights reach engines on another node, whole."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from processes import ROOT
from ray.cluster_utils import Cluster

pytestmark = [pytest.mark.ray, pytest.mark.slow]


@pytest.fixture(scope="module")
def found(tiny_model, tmp_path_factory):
    """What far_spine.py tells on a simulated cluster of two nodes: processes of this machine, each with its object store."""
    logs, node = tmp_path_factory.mktemp("far"), {"num_cpus": 3, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=node | {"include_dashboard": False})
    try:
        cluster.add_node(**node)
        command = [sys.executable, str(Path(__file__).with_name("far_spine.py")), str(tiny_model), str(logs), cluster.address]
        env = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "tests")])}
        done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, timeout=400)
    finally:
        cluster.shutdown()
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_engines_of_both_nodes_run_the_trainers_weights(found):
    assert all(moved > 0.05 for moved in found["moved"]), "the update must change something"
    assert all(difference < 1e-3 for difference in found["from_trainer"])


def test_a_bit_that_flips_between_nodes_is_noticed(found):
    assert found["fault"].startswith("version 2 did not reach the engines intact: model.")
    assert found["fault"].endswith("arrived with other bits than were sent")


def test_no_name_in_shared_memory_can_outlive_a_run(found):
    assert found["files"] == []
