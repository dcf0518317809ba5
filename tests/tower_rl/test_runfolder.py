import json
import multiprocessing
from io import StringIO
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from ruamel.yaml import YAML

from tower_rl import checkpoint
from tower_rl.config.schema import Config
from tower_rl.runfolder import Mode, RunFolder, RunFolderError, stage_folders


def settings(folder: Path | str) -> dict[str, Any]:
    return {
        "run": {"name": "demo", "dir": str(folder), "seed": 7},
        "model": {"path": "package:tiny"},
        "data": {"sources": {"sums": {"kind": "reasoning_gym", "task": "chain_sum", "verifier": "math"}}},
        "verifiers": {"math": {"use": "math", "timeout_s": 5.0}},
        "stages": [{"name": "rlvr", "kind": "rlvr", "steps": 10}],
    }


def create(values: dict[str, Any], mode: Mode) -> RunFolder:
    text = StringIO()
    YAML(typ="safe", pure=True).dump(values, text)
    return RunFolder.create(Config.model_validate(values), text.getvalue(), mode)


def made(folder: Path) -> Path:
    with create(settings(folder), Mode.NEW):
        pass
    return folder


def manifest(folder: Path) -> dict[str, Any]:
    return dict(json.loads((folder / "manifest.json").read_text()))


def test_a_new_folder_says_what_the_run_is(tmp_path: Path) -> None:
    with create(settings(tmp_path / "runs" / "demo"), Mode.NEW) as folder:
        stage = folder.stage(0, "rlvr")
        path = checkpoint.begin(stage.path, 3)
        checkpoint.commit(path, {})
        checkpoint.begin(stage.path, 4)
        assert manifest(folder.path)["status"] == "running"
        folder.finish()
    assert stage.rollouts(3) == folder.path / "stages/0-rlvr/rollouts/step-3.parquet" and stage.rollouts(3).parent.is_dir()
    assert folder.logs.is_dir() and stage.metrics.name == "metrics.jsonl"
    found = manifest(folder.path)
    assert (found["name"], found["seed"], found["attempt"], found["status"]) == ("demo", 7, 1, "finished")
    assert found["stages"] == {"0-rlvr": {"checkpoints": ["stages/0-rlvr/checkpoints/step-3"]}}
    assert found["packages"]["pydantic"] and found["python"].startswith("3.") and found["ended"] >= found["created"]
    assert "chain_sum" in (folder.path / "config.yaml").read_text()


def test_new_takes_an_empty_folder_and_refuses_a_used_one(tmp_path: Path) -> None:
    made(tmp_path)
    with pytest.raises(RunFolderError, match="exists; use --resume to go on or --fresh to start again"):
        create(settings(tmp_path), Mode.NEW)


def test_a_file_is_no_run_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunFolderError, match="not a folder"):
        create(settings(tmp_path / "file"), Mode.FRESH)


def test_a_folder_that_cannot_be_made() -> None:
    with pytest.raises(RunFolderError, match=r"\Arun\.dir /proc/none/run cannot be used: No such file or directory\Z"):
        create(settings(Path("/proc/none/run")), Mode.NEW)


def test_fresh_removes_a_run_and_nothing_else(tmp_path: Path) -> None:
    run = made(tmp_path / "run")
    (run / "stages" / "0-rlvr").mkdir(parents=True)
    first = manifest(run)["run_id"]
    with create(settings(run), Mode.FRESH):
        assert not (run / "stages").exists()
    assert manifest(run)["run_id"] != first
    for name, content in (("thesis.tex", "x"), ("manifest.json", '{"name": "a web app"}'), ("manifest.json", "[")):
        other = tmp_path / "other"
        other.mkdir(exist_ok=True)
        (other / name).write_text(content)
        with pytest.raises(RunFolderError, match="--fresh does not remove it"):
            create(settings(other), Mode.FRESH)
        assert (other / name).read_text() == content and not (other / ".lock").exists()


def test_fresh_starts_where_nothing_is(tmp_path: Path) -> None:
    with create(settings(tmp_path / "run"), Mode.FRESH) as folder:
        assert folder.attempt == 1


def test_resume_needs_a_run(tmp_path: Path) -> None:
    with pytest.raises(RunFolderError, match="nothing to resume"):
        create(settings(tmp_path / "run"), Mode.RESUME)
    assert not (tmp_path / "run").exists()


def test_resume_is_a_further_attempt_and_may_take_more_steps(tmp_path: Path) -> None:
    first = manifest(made(tmp_path))
    values = settings(tmp_path)
    values["stages"][0] |= {"steps": 20, "keep_last": 5, "save_every": 2}
    values["cluster"] = {"address": "auto"}
    values["rollout"] = {"request_timeout_s": 5.0}
    with create(values, Mode.RESUME) as folder:
        assert folder.attempt == 2
    found = manifest(tmp_path)
    assert (found["run_id"], found["created"], found["attempt"]) == (first["run_id"], first["created"], 2)
    assert "steps: 20" in (tmp_path / "config.yaml").read_text()


@pytest.mark.parametrize(
    ("section", "change", "named"),
    [
        ("run", {"seed": 8}, r"run\.seed \(was 7, now 8\)"),
        ("policy", {"learning_rate": 1e-5}, r"policy\.learning_rate \(was None, now 1e-05\)"),
        ("verifiers", {"math": {"use": "math", "timeout_s": 6.0}}, r"verifiers\.math\.timeout_s"),
        ("stages", [{"name": "rlvr", "kind": "rlvr", "steps": 9}], r"stages\.0\.steps \(was 10, now 9\)"),
        ("stages", settings("")["stages"] + [{"name": "more", "kind": "rlvr", "steps": 9}], r"stages\.1\.kind"),
    ],
)
def test_resume_refuses_another_meaning(tmp_path: Path, section: str, change: Any, named: str) -> None:
    made(tmp_path)
    values = settings(tmp_path)
    values[section] = change if isinstance(change, list) else values.get(section, {}) | change
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir() if file.is_file() and file.name != ".lock"}
    with pytest.raises(RunFolderError, match=named):
        create(values, Mode.RESUME)
    assert before == {name: (tmp_path / name).read_bytes() for name in before}
    with create(settings(tmp_path), Mode.RESUME) as folder:  # the refusal released the lock
        assert folder.attempt == 2


def test_an_exception_marks_the_run_failed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="boom"), create(settings(tmp_path), Mode.NEW):
        raise ValueError("boom")
    assert (manifest(tmp_path)["status"], manifest(tmp_path)["reason"]) == ("failed", "ValueError: boom")


def test_stages_are_in_order(tmp_path: Path) -> None:
    with create(settings(tmp_path), Mode.NEW) as folder:
        for index in (10, 9):
            folder.stage(index, "a-b")
        assert [path.name for path in stage_folders(folder.path)] == ["9-a-b", "10-a-b"]


def hold(folder: Path, pipe: Connection) -> None:
    with create(settings(folder), Mode.NEW):
        pipe.send("held")
        pipe.recv()


@pytest.mark.parametrize("mode", [Mode.RESUME, Mode.FRESH])
def test_two_processes_cannot_share_a_folder_and_a_kill_frees_it(tmp_path: Path, mode: Mode) -> None:
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=hold, args=(tmp_path, theirs))
    process.start()
    assert ours.recv() == "held"
    with pytest.raises(RunFolderError, match=f"in use by process {process.pid} on "):
        create(settings(tmp_path), mode)
    process.kill()
    process.join()
    with create(settings(tmp_path), mode) as folder:
        assert folder.attempt == (2 if mode is Mode.RESUME else 1)


def test_rollouts_past_a_checkpoint_are_set_aside_not_lost(tmp_path: Path) -> None:
    with create(settings(tmp_path / "run"), Mode.NEW) as run:
        stage = run.stage(0, "rl")
        for step in range(5):
            stage.rollouts(step).write_text(str(step))
        stage.supersede_rollouts(3, 1)
    kept = tmp_path / "run" / "stages" / "0-rl" / "rollouts"
    assert sorted(path.name for path in kept.glob("*.parquet")) == ["step-0.parquet", "step-1.parquet", "step-2.parquet"]
    assert sorted(path.read_text() for path in (kept / "superseded-by-attempt-2").iterdir()) == ["3", "4"]


def with_dtype(folder: Path, dtype: str) -> dict[str, Any]:
    values = settings(folder)
    values["model"]["dtype"] = dtype
    values["verifiers"]["liked"] = {"reward_model": "/somewhere", "dtype": dtype}
    return values


def test_a_run_keeps_the_dtype_that_it_began_with(tmp_path: Path) -> None:
    with create(with_dtype(tmp_path, "auto"), Mode.NEW) as folder:
        assert folder.dtype is None
        folder.record_precision("float32", "this CPU has no bfloat16 products")
        assert folder.precision == "float32: this CPU has no bfloat16 products"
    for dtype in ("auto", "float32", "auto"):
        with pytest.raises(RunFolderError, match=r"model\.dtype \(was 'float32', now 'bfloat16'\)"):
            create(with_dtype(tmp_path, "bfloat16"), Mode.RESUME)
        with create(with_dtype(tmp_path, dtype), Mode.RESUME) as folder:
            assert folder.dtype == "float32" and folder.precision.endswith("no bfloat16 products")


def test_a_dtype_that_was_not_chosen_yet_is_chosen_later(tmp_path: Path) -> None:
    with create(with_dtype(tmp_path, "auto"), Mode.NEW):
        pass
    with create(with_dtype(tmp_path, "auto"), Mode.RESUME) as folder:
        assert folder.dtype is None


def test_a_run_of_an_older_version_goes_on_in_its_dtype(tmp_path: Path) -> None:
    """Its configuration names a dtype, where today's leaves it open, and its manifest has none."""
    with create(with_dtype(tmp_path, "bfloat16"), Mode.NEW):
        pass
    with create(with_dtype(tmp_path, "auto"), Mode.RESUME) as folder:
        assert folder.precision == "bfloat16: as the run began"
    with create(with_dtype(tmp_path, "auto"), Mode.RESUME) as folder:  # whose configuration was written meanwhile
        assert folder.dtype == "bfloat16"
