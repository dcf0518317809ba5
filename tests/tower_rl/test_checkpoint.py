from pathlib import Path

import pytest

from tower_rl.checkpoint import CheckpointError, begin, commit, complete, latest, prune, read_state, step_of, verify


def make(stage: Path, step: int, text: str = "weights") -> Path:
    path = begin(stage, step)
    (path / "model").mkdir()
    (path / "model" / "shard-0.bin").write_text(text)
    commit(path, {"step": step, "cursor": 8 * step})
    return path


def test_a_committed_checkpoint_is_the_latest(tmp_path: Path) -> None:
    assert latest(tmp_path) is None
    for step in (9, 10):
        make(tmp_path, step)
    path = latest(tmp_path)
    assert path is not None and step_of(path) == 10
    verify(path)
    assert read_state(path) == {"step": 10, "cursor": 80}
    assert sorted(file.name for file in path.iterdir()) == ["COMMIT", "model", "state.json"]


def test_a_kill_before_commit_leaves_no_checkpoint(tmp_path: Path) -> None:
    first = make(tmp_path, 1)
    killed = begin(tmp_path, 2)
    (killed / "half").write_text("x")
    assert latest(tmp_path) == first
    for reader in (verify, read_state):
        with pytest.raises(CheckpointError, match="no COMMIT"):
            reader(killed)
    assert begin(tmp_path, 2) == killed and list(killed.iterdir()) == []


def test_a_resized_or_missing_file_makes_it_absent(tmp_path: Path) -> None:
    first, second, third = (make(tmp_path, step) for step in (1, 2, 3))
    (third / "model" / "shard-0.bin").unlink()
    with (second / "model" / "shard-0.bin").open("a") as stream:
        stream.write("!")
    assert complete(tmp_path) == [first]
    with pytest.raises(CheckpointError, match=r"step-3/model/shard-0\.bin is missing"):
        verify(third)
    with pytest.raises(CheckpointError, match=r"step-2/model/shard-0\.bin is damaged: it has 8 bytes instead of 7"):
        verify(second)


def test_altered_bytes_are_named(tmp_path: Path) -> None:
    path = make(tmp_path, 1)
    (path / "model" / "shard-0.bin").write_text("WEIGHTS")
    assert latest(tmp_path) == path
    with pytest.raises(CheckpointError, match=r"shard-0\.bin is damaged: its SHA-256"):
        verify(path)


def test_a_damaged_commit_or_state(tmp_path: Path) -> None:
    path = make(tmp_path, 1)
    (path / "state.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"state\.json is damaged"):
        read_state(path)
    (path / "COMMIT").write_text("{")
    assert latest(tmp_path) is None
    with pytest.raises(CheckpointError, match="COMMIT is damaged"):
        verify(path)


def test_complete_checkpoints_are_not_overwritten(tmp_path: Path) -> None:
    path = make(tmp_path, 1)
    with pytest.raises(CheckpointError, match="not overwritten"):
        begin(tmp_path, 1)
    with pytest.raises(CheckpointError, match="committed before"):
        commit(path, {})


@pytest.mark.parametrize("state", [{"x": float("nan")}, {"x": object()}])
def test_a_state_that_is_not_json_commits_nothing(tmp_path: Path, state: dict[str, object]) -> None:
    path = begin(tmp_path, 1)
    with pytest.raises((TypeError, ValueError)):
        commit(path, state)
    assert latest(tmp_path) is None


@pytest.mark.parametrize(("keep", "left"), [(0, [11]), (1, [11]), (2, [9, 11]), (9, [2, 9, 11])])
def test_prune_never_removes_the_newest_complete(tmp_path: Path, keep: int, left: list[int]) -> None:
    for step in (2, 9, 11):
        make(tmp_path, step)
    begin(tmp_path, 12)
    (tmp_path / "checkpoints" / "notes").mkdir()
    prune(tmp_path, keep)
    assert [step_of(path) for path in complete(tmp_path)] == left
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == sorted(["notes", *(f"step-{n}" for n in left)])
