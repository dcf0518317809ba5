"""A rank and an engine on one node, another engine on a second: FOLDER LOGS ADDRESS, by test_far_weights.py.

Prints a line of JSON: by engine, how far its log-probabilities are from those before an update and from the trainer's after
it; what a flipped bit on the way to the second node led to; names in shared memory once all are connected.
"""

import asyncio
import json
import os
import sys
from pathlib import Path

import numpy as np
import ray
from helpers import random_groups
from ray import cloudpickle
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from spine import start_engine

from actors.group import spawn
from actors.policy import PolicyRank, RankSettings, RlvrRanks
from actors.process import idle_env
from actors.rollout import Engines
from actors.weights import CheckedSync, EngineClient, probe_batch
from tower_rl.batching import assemble
from tower_rl.config.schema import Policy
from tower_rl.config.stages import RlvrStage
from tower_rl.protocols import MismatchExceeded

PROBE = list(range(20, 60))
SHARED = Path("/dev/shm")


class Corrupting(EngineClient):
    """Flips a bit of each group on its way to other nodes."""

    def update_weights(self, update_info):
        whole = self.written
        self.written = np.array(whole)
        self.written[0] ^= 1
        super().update_weights(update_info)
        self.written = whole


cloudpickle.register_pickle_by_value(sys.modules[Corrupting.__module__])


async def main(folder: Path, logs: Path) -> None:
    here, there = sorted((node["NodeID"] for node in ray.nodes()), key=ray.get_runtime_context().get_node_id().__ne__)
    on_here, on_there = ({"scheduling_strategy": NodeAffinitySchedulingStrategy(node, soft=False)} for node in (here, there))
    started = [start_engine("near", folder, logs, **on_here), start_engine("far", folder, logs, **on_there)]
    engines, handles = Engines(started, request_timeout_s=120, start_timeout_s=300), [engine.handle for engine in started]
    policy, stage = Policy(learning_rate=1e-2, zero_stage=0), RlvrStage(name="test", kind="rlvr", steps=10)
    log = logs / "policy.log"
    settings = RankSettings(str(folder), "float32", policy, 0, 1, str(log))
    rank = spawn(PolicyRank, "policy", log, on_here, idle_env(1) | {"DS_ACCELERATOR": "cpu"}, settings, 0, 1)
    ranks, path = RlvrRanks([rank], policy, stage), SHARED / f"tower-rl-far-{os.getpid()}"
    sync = CheckedSync(ranks, engines, PROBE, 0.01)
    await asyncio.gather(engines.ready(), ranks.ready())
    await sync.connect(str(path), EngineClient(handles, 60))
    await sync.push(0)
    files = [each.name for each in SHARED.glob(f"{path.name}*")]
    before = await engines.probe(PROBE)
    groups, advantages = random_groups(1, (3, 2))
    await ranks.update(assemble(groups, advantages, ranks=1, budget=4096, temperature=0.7), 0)
    await sync.push(1)
    after, trainer = await engines.probe(PROBE), (await ranks.probe(probe_batch(PROBE)))[0]
    faulty = CheckedSync(ranks, engines, PROBE, 0.01)
    await faulty.connect(str(path), Corrupting(handles, 60))
    try:
        await faulty.push(2)
        fault = ""
    except MismatchExceeded as error:
        fault = str(error)
    await ranks.shutdown()
    await engines.shutdown()
    print(
        json.dumps(
            {
                "moved": [float(np.abs(a - b).mean()) for a, b in zip(before, after, strict=True)],
                "from_trainer": [float(np.abs(a - trainer).max()) for a in after],
                "fault": fault,
                "files": files,
            }
        ),
        flush=True,
    )


if __name__ == "__main__":
    ray.init(address=sys.argv[3], log_to_driver=False)
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2])))
