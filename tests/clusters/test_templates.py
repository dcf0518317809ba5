"""Templates of clusters: they parse, and ask for as many GPUs as the plan."""

import re
import subprocess
from pathlib import Path

from ruamel.yaml import YAML

from clusters.forecast import node_count
from clusters.placement import layout, slots
from tower_rl.config.load import load

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "clusters" / "templates"
COMMAND = "python -m tower_rl.run configs/rlvr_72b.yaml"


def planned():
    config = load(str(ROOT / "configs" / "rlvr_72b.yaml"))
    placed = layout(slots(config, 1e9), config.cluster.gpus_per_node)
    return node_count(placed, config.cluster.gpus_per_node), config.cluster.gpus_per_node, placed


def test_kuberay() -> None:
    nodes, gpus, placed = planned()
    text = (TEMPLATES / "kuberay_rayjob.yaml").read_text()
    job = YAML(typ="safe").load(text)
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert COMMAND in job["spec"]["entrypoint"]
    assert re.search(r"ray job submit .*-- " + re.escape(COMMAND), text)
    (group,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] == nodes
    resources = group["template"]["spec"]["containers"][0]["resources"]
    assert resources["requests"] == resources["limits"]
    assert int(resources["limits"]["nvidia.com/gpu"]) == gpus
    assert nodes * gpus == sum(slot.gpus for slot in placed.places)
    assert int(resources["limits"]["cpu"]) >= max(bundle.get("CPU", 0) for bundle in placed.resources())


def test_slurm() -> None:
    nodes, gpus, _ = planned()
    path = TEMPLATES / "slurm.sh"
    assert subprocess.run(["bash", "-n", path], timeout=20).returncode == 0
    text = path.read_text()
    asked = dict(re.findall(r"^#SBATCH --([a-z-]+)=(\S+)$", text, re.M))
    assert (int(asked["nodes"]), int(asked["gpus-per-node"])) == (nodes, gpus)
    assert re.findall(r"--num-gpus=(\d+)", text) == [str(gpus)] * 2
    assert re.search(r"^ray job submit .*-- " + re.escape(COMMAND) + "$", text, re.M)
