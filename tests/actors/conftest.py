"""One Ray, one engine and one trainer on the tiny model, for all tests of this folder."""

import numpy as np
import pytest
from helpers import prompt
from spine import end_spine, start_spine

from clusters.connect import connect
from tower_rl.config.schema import Cluster, Policy
from tower_rl.config.stages import RlvrStage

PROBE = list(range(20, 60))


@pytest.fixture(scope="session")
def cluster():
    with connect(Cluster(), 6) as dashboard:
        yield dashboard


@pytest.fixture(scope="session")
def logs(tmp_path_factory):
    return tmp_path_factory.mktemp("logs")


@pytest.fixture(scope="session")
def spine(cluster, tiny_model, logs):
    """Engines, ranks and the sync between them, connected."""
    policy = Policy(learning_rate=1e-2, zero_stage=0)
    stage = RlvrStage(name="test", kind="rlvr", steps=10, kl_coefficient=0.1)
    made = start_spine("0", tiny_model, logs, policy, stage, PROBE)
    yield made
    end_spine(made)


@pytest.fixture
def prompts():
    rng = np.random.default_rng(0)
    lengths = (10, 11, 12, 13, 14, 70)  # the samples of the last one share two blocks of it
    return [prompt(rng.integers(3, 512, length), cursor=i) for i, length in enumerate(lengths)]
