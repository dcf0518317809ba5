"""Bundles over nodes, and who finds no place."""

import pytest

from clusters.forecast import node_count
from clusters.placement import Slot, layout, missing
from tower_rl.protocols import RunError

ENGINE, RANK, REFERENCE, VERIFICATION = (
    Slot("rollout", 1, 8),
    Slot("policy", 1, 1),
    Slot("reference", 1, 1),
    Slot("verification", 1, 0),
)
WIDE = [ENGINE, ENGINE, *[RANK] * 20, *[REFERENCE] * 3, VERIFICATION]


def test_what_fits_on_a_node_stays_there_with_a_bundle_each() -> None:
    planned = layout([RANK] * 7 + [REFERENCE, VERIFICATION], 8)
    assert planned.one_node
    assert planned.bundles == [(i,) for i in range(9)]
    assert planned.resources() == [{"CPU": 1, "GPU": 1}] * 8 + [{"CPU": 1}]
    assert layout([Slot("policy", 1, 0)] * 50, 8).one_node, "without GPUs all is on one machine"


def test_over_nodes_an_engine_is_a_bundle_and_ranks_fill_nodes() -> None:
    planned = layout(WIDE, 8)
    assert not planned.one_node
    assert [planned.role(i) for i in range(7)] == [
        "rollout",
        "rollout",
        "policy",
        "policy",
        "policy",
        "reference",
        "verification",
    ]
    assert planned.resources() == [{"CPU": 1, "GPU": 8}] * 2 + [{"CPU": 8, "GPU": 8}] * 2 + [
        {"CPU": 4, "GPU": 4},
        {"CPU": 3, "GPU": 3},
        {"CPU": 1},
    ]
    assert sorted(i for bundle in planned.bundles for i in bundle) == list(range(len(WIDE)))
    assert node_count(planned, 8) == 5, "the four ranks and the three references share a node"


def test_an_engine_wider_than_a_node() -> None:
    with pytest.raises(RunError, match=r"rollout\.tensor_parallel is more than the 4 GPUs of a node"):
        layout(WIDE, 4)


def colocated(width, workers, others=0):
    engines = [Slot("rollout", 1, 0, beside=workers // width + i) for i in range(0, workers, width)]
    return [*engines, *[RANK] * workers, *[REFERENCE] * others, VERIFICATION]


def test_engines_on_the_gpus_of_ranks_are_in_their_bundles() -> None:
    planned = layout(colocated(2, 4), 8)
    assert planned.one_node
    assert planned.bundles == [(2, 0), (3,), (4, 1), (5,), (6,)], "an engine is beside the first of its ranks"
    planned = layout(colocated(4, 12, others=1), 8)
    assert not planned.one_node
    assert planned.bundles == [(*range(3, 11), 0, 1), (*range(11, 15), 2), (15,), (16,)]
    assert planned.resources() == [{"CPU": 10, "GPU": 8}, {"CPU": 5, "GPU": 4}, {"CPU": 1, "GPU": 1}, {"CPU": 1}]
    assert [planned.role(i) for i in range(4)] == ["policy", "policy", "reference", "verification"]
    assert node_count(planned, 8) == 2
    assert missing(planned, [{"CPU": 16, "GPU": 8}]) == {"policy": 4, "rollout": 1, "reference": 1}


def test_who_finds_no_place() -> None:
    planned, node = layout(WIDE, 8), {"CPU": 16.0, "GPU": 8.0, "memory": 1.0}
    assert missing(planned, [node] * 5) == {}
    assert missing(planned, [node] * 4) == {"policy": 4, "reference": 3}
    assert missing(planned, [node] * 1) == {"rollout": 1, "policy": 20, "reference": 3}
    assert missing(planned, [{"CPU": 100, "GPU": 100}]) == {}
    assert missing(planned, [{"CPU": 7, "GPU": 8}] * 9) == {"policy": 16}, "two bundles need eight CPUs"
    assert missing(layout([RANK, RANK], 8), [{"CPU": 1, "GPU": 1}] * 2) == {"policy": 2}, "they must be on the same node"
