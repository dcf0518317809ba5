"""Which of the errors of a group of ranks its user is told."""

import pytest
from ray.train.v2._internal.exceptions import WorkerHealthCheckFailedError

from actors.supervised import _plainly
from tower_rl.checkpoint import CheckpointError
from tower_rl.data.rows import DataError
from tower_rl.models.errors import ModelError
from tower_rl.protocols import RunError, WorkerLost

PEER = RuntimeError("[gloo] allreduce failed\nConnection closed by peer [127.0.0.1]:9999")
DEAD = WorkerHealthCheckFailedError("A worker health check failed.", ConnectionError("The worker died unexpectedly."))


@pytest.mark.parametrize("kind", [RunError, DataError, ModelError, CheckpointError])
def test_what_a_rank_raised_on_purpose_comes_before_what_it_brought_about(kind):
    assert _plainly({0: PEER, 1: kind("the loss is not a number")}).args == ("the loss is not a number",)


def test_what_a_rank_raised_on_purpose_is_found_behind_another_error():
    outer = RuntimeError("wrapped")
    outer.__cause__ = DataError("a.parquet is damaged")
    assert str(_plainly({0: outer})) == "a.parquet is damaged"


def test_the_rank_that_died_is_named_and_not_the_one_that_waited_for_it():
    error = _plainly({0: PEER, 1: DEAD})
    assert isinstance(error, WorkerLost)
    assert str(error) == "rank 1 of the stage is lost: The worker died unexpectedly."


def test_an_error_of_another_library_is_told_by_its_last_line():
    assert str(_plainly({0: PEER})) == "rank 0 of the stage is lost: Connection closed by peer [127.0.0.1]:9999"
    assert str(_plainly({0: MemoryError()})) == "rank 0 of the stage is lost: MemoryError"
