"""Checkpoints that are complete or absent.

    stages/K-NAME/checkpoints/step-N/   whatever the trainers write, state.json, and last of all COMMIT

COMMIT lists the size and the SHA-256 of every other file. A folder without it, or whose files have other sizes, is no
checkpoint: it is skipped by `latest` and removed by `begin` and `prune`.
"""

import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tower_rl.files import flush_to_disk, replace_text, sha256

COMMIT = "COMMIT"
STATE = "state.json"
HASHING_THREADS = 2


class CheckpointError(RuntimeError):
    """A checkpoint is damaged, incomplete, or would be overwritten."""


def folder_of(stage_dir: Path, step: int) -> Path:
    """Where the checkpoint of a step lies, or would lie."""
    return stage_dir / "checkpoints" / f"step-{step}"


def begin(stage_dir: Path, step: int) -> Path:
    """Makes the empty folder of a step's checkpoint, in place of an incomplete one; CheckpointError if it is complete."""
    path = folder_of(stage_dir, step)
    if _is_complete(path):
        raise CheckpointError(f"{path} is a complete checkpoint already; it is not overwritten")
    if path.exists():
        shutil.rmtree(path)
    path.mkdir(parents=True)
    return path


def commit(path: Path, state: Mapping[str, Any]) -> None:
    """Completes a checkpoint once all ranks have written: the driver's state, then COMMIT.

    Raises CheckpointError when it was committed before, TypeError or ValueError when `state` is not JSON.
    """
    if (path / COMMIT).exists():
        raise CheckpointError(f"{path} was committed before")
    replace_text(path / STATE, json.dumps(state, allow_nan=False))
    names = _file_names(path)
    # The bytes of other processes' files must be on the disk before COMMIT vouches for them.
    for name in names:
        flush_to_disk(path / name)
    for folder in {(path / name).parent for name in names}:
        flush_to_disk(folder)
    files = {name: {"bytes": (path / name).stat().st_size, "sha256": digest} for name, digest in _digests(path, names).items()}
    replace_text(path / COMMIT, json.dumps({"files": files}, indent=1))
    flush_to_disk(path.parent)


def complete(stage_dir: Path) -> list[Path]:
    """The complete checkpoints of a stage, oldest first; sizes are checked, digests are not (see `verify`)."""
    return [path for path in _step_folders(stage_dir) if _is_complete(path)]


def latest(stage_dir: Path) -> Path | None:
    """The newest complete checkpoint of a stage, or None."""
    found = complete(stage_dir)
    return found[-1] if found else None


def step_of(path: Path) -> int:
    """The step in the name of a checkpoint's folder."""
    return int(path.name.removeprefix("step-"))


def verify(path: Path) -> None:
    """Reads every file of a checkpoint; raises CheckpointError that names the first missing, resized or altered one."""
    files = _committed_files(path)
    for name, entry in files.items():
        _check_size(path / name, entry["bytes"])
    for name, digest in _digests(path, list(files)).items():
        if digest != files[name]["sha256"]:
            raise CheckpointError(f"{path / name} is damaged: its SHA-256 is not the one in {COMMIT}")


def read_state(path: Path) -> dict[str, Any]:
    """The driver's state in a complete checkpoint; raises CheckpointError when COMMIT or the state is missing or resized."""
    _check_size(path / STATE, _committed_files(path)[STATE]["bytes"])
    state: dict[str, Any] = json.loads((path / STATE).read_text(encoding="utf-8"))
    return state


def prune(stage_dir: Path, keep_last: int) -> None:
    """Removes incomplete checkpoints and all complete ones but the newest `keep_last` (at least one).

    Call it between checkpoints: one that is being written is incomplete.
    """
    kept = complete(stage_dir)[-max(1, keep_last) :]
    for path in _step_folders(stage_dir):
        if path not in kept:
            # Without COMMIT first, so that a kill in the middle leaves no folder that looks complete.
            (path / COMMIT).unlink(missing_ok=True)
            shutil.rmtree(path)


def _step_folders(stage_dir: Path) -> list[Path]:
    folders = [path for path in (stage_dir / "checkpoints").glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(folders, key=step_of)


def _file_names(path: Path) -> list[str]:
    return sorted(str(file.relative_to(path)) for file in path.rglob("*") if file.is_file())


def _committed_files(path: Path) -> dict[str, dict[str, Any]]:
    try:
        files: dict[str, dict[str, Any]] = json.loads((path / COMMIT).read_text(encoding="utf-8"))["files"]
    except FileNotFoundError:
        raise CheckpointError(f"{path} is not a complete checkpoint: it has no {COMMIT}") from None
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path / COMMIT} is damaged: {error!r}") from error
    return files


def _check_size(file: Path, size: int) -> None:
    if not file.is_file():
        raise CheckpointError(f"{file} is missing")
    if file.stat().st_size != size:
        raise CheckpointError(f"{file} is damaged: it has {file.stat().st_size} bytes instead of {size}")


def _is_complete(path: Path) -> bool:
    try:
        for name, entry in _committed_files(path).items():
            _check_size(path / name, entry["bytes"])
    except CheckpointError:
        return False
    return True


def _digests(path: Path, names: list[str]) -> dict[str, str]:
    with ThreadPoolExecutor(HASHING_THREADS) as pool:
        return dict(zip(names, pool.map(sha256, [path / name for name in names]), strict=True))
