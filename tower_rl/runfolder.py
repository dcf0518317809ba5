"""The folder of a run: what it is, what it made, and who may write to it.

config.yaml  manifest.json  report.html  logs/  [verdicts.sqlite]
stages/K-NAME/  metrics.jsonl  [panel-before.json  panel-after.json  rollouts/step-N.parquet  skipped.jsonl]
                [validation.jsonl  data/]
                [rounds.jsonl  pairs/round-N/]  checkpoints/step-N/
"""

import fcntl
import importlib.metadata
import json
import os
import platform
import shutil
import subprocess
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from fnmatch import fnmatchcase
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from ruamel.yaml import YAML

from tower_rl import checkpoint
from tower_rl.config.schema import Config
from tower_rl.files import replace_text
from tower_rl.stopping import Stopped

CONFIG = "config.yaml"
MANIFEST = "manifest.json"
LOCK = ".lock"

MAY_CHANGE = (
    "run.dir",
    "cluster.*",
    "data.cache",
    "data.stall_timeout_s",
    "rollout.request_timeout_s",
    "rollout.start_timeout_s",
    "policy.step_timeout_s",
    "policy.start_timeout_s",
    "reference.timeout_s",
    "verification.timeout_s",
    "stages.*.save_every",
    "stages.*.keep_last",
    "stages.*.restarts",
)
"""Keys that a resumed run may change. Not `verifiers.*.timeout_s`: it decides which responses fail."""
MAY_GROW = "stages.*.steps"
DTYPES = ("model.dtype", "verifiers.*.dtype")
"""Keys that may be left open: a run goes on in the dtype that was chosen when it began."""
AUTO = "auto"


class Mode(StrEnum):
    """What to do about a run folder that exists."""

    NEW = "new"
    """Refuse it."""
    RESUME = "resume"
    """Go on from it."""
    FRESH = "fresh"
    """Remove what is in it, and start again."""


class RunFolderError(RuntimeError):
    """The run folder exists, is missing, is in use, or belongs to another configuration."""


@dataclass(frozen=True, slots=True)
class StageFolder:
    """The paths of one stage."""

    path: Path

    @property
    def metrics(self) -> Path:
        """One JSON object a step."""
        return self.path / "metrics.jsonl"

    @property
    def validation(self) -> Path:
        """One JSON object a validation of a supervised or preference stage; its `step` is the number of steps done."""
        return self.path / "validation.jsonl"

    @property
    def skipped(self) -> Path:
        """One JSON object a prompt that an rlvr stage passed over."""
        return self.path / "skipped.jsonl"

    @property
    def data(self) -> Path:
        """What became of the corpora: counts, samples of what was dropped, rows that could not be read."""
        return self.path / "data"

    @property
    def rounds(self) -> Path:
        """One JSON object a round of a preference stage, written when its pairs stand: what they are like."""
        return self.path / "rounds.jsonl"

    @property
    def pairs(self) -> Path:
        """The candidates and pairs of a preference stage, in a folder `round-N` a round."""
        return self.path / "pairs"

    @property
    def panel_before(self) -> Path:
        """Responses to the held-out panel before the stage."""
        return self.path / "panel-before.json"

    @property
    def panel_after(self) -> Path:
        """Responses to the held-out panel after the stage."""
        return self.path / "panel-after.json"

    def rollouts(self, step: int) -> Path:
        """The scored rollouts of a step."""
        return self.path / "rollouts" / f"step-{step}.parquet"

    def supersede_rollouts(self, first: int, attempt: int) -> None:
        """Moves the rollouts of steps from `first` on aside, into a folder of the attempt that made them."""
        for path in (self.path / "rollouts").glob("step-*.parquet"):
            if int(path.stem.removeprefix("step-")) >= first:
                aside = path.parent / f"superseded-by-attempt-{attempt + 1}"
                aside.mkdir(exist_ok=True)
                path.replace(aside / path.name)


class RunFolder:
    """A run folder that this process has locked. Leaving the `with` block unlocks it; an exception marks the run
    failed, or stopped."""

    def __init__(self, path: Path, lock: int, manifest: dict[str, Any]) -> None:
        """Use `create`."""
        self.path = path
        self.manifest = manifest
        self._lock = lock

    @classmethod
    def create(cls, config: Config, config_text: str, mode: Mode) -> Self:
        """Makes or reopens the folder `run.dir`, takes its lock, writes config.yaml (`config_text`) and manifest.json.

        Raises RunFolderError when the folder cannot be made, when the mode does not allow what is there, when another process
        uses it, or when a resumed run would change the meaning of its configuration.
        """
        path = Path(config.run.dir).expanduser().resolve()
        try:
            _check_mode(path, mode)
            path.mkdir(parents=True, exist_ok=True)
            lock = _take_lock(path)
        except OSError as error:
            raise RunFolderError(f"run.dir {path} cannot be used: {error.strerror}") from error
        try:
            manifest = _prepare(path, config, config_text, mode)
            # The manifest first: with it alone --fresh can clean up, without it nothing may.
            folder = cls(path, lock, manifest)
            folder._write_manifest()
            replace_text(path / CONFIG, config_text)
            (path / "logs").mkdir(exist_ok=True)
        except BaseException:
            os.close(lock)
            raise
        return folder

    @property
    def attempt(self) -> int:
        """1 for a new run; each resumption adds one."""
        return int(self.manifest["attempt"])

    @property
    def dtype(self) -> str | None:
        """The dtype that the run began with; None until it is chosen."""
        chosen = self.manifest.get("precision")
        return None if chosen is None else str(chosen["dtype"])

    @property
    def precision(self) -> str:
        """That dtype and why, in words."""
        chosen = self.manifest["precision"]
        return f"{chosen['dtype']}: {chosen['reason']}"

    def record_precision(self, dtype: str, reason: str) -> None:
        """Write the dtype of the run, and why it has it, into the manifest."""
        self.manifest["precision"] = {"dtype": dtype, "reason": reason}
        self._write_manifest()

    @property
    def logs(self) -> Path:
        """Where engines and trainers log."""
        return self.path / "logs"

    @property
    def verdicts(self) -> Path:
        """Where verifiers with `cache` keep their verdicts."""
        return self.path / "verdicts.sqlite"

    def stage(self, index: int, name: str) -> StageFolder:
        """Makes the folder of a stage and returns its paths."""
        path = self.path / "stages" / f"{index}-{name}"
        (path / "rollouts").mkdir(parents=True, exist_ok=True)
        (path / "checkpoints").mkdir(exist_ok=True)
        return StageFolder(path)

    def record_checkpoints(self) -> None:
        """Writes into the manifest which complete checkpoints the stages have now."""
        self.manifest["stages"] = {
            stage.name: {"checkpoints": [str(path.relative_to(self.path)) for path in checkpoint.complete(stage)]}
            for stage in stage_folders(self.path)
        }
        self._write_manifest()

    def newest_checkpoint(self) -> Path | None:
        """Return the complete checkpoint that a resumed run goes on from, relative to the folder; None where there is none."""
        found = [path for stage in stage_folders(self.path) if (path := checkpoint.latest(stage)) is not None]
        return found[-1].relative_to(self.path) if found else None

    def finish(self) -> None:
        """Marks the run finished."""
        self._end("finished", "")

    def fail(self, reason: str) -> None:
        """Marks the run failed, and why."""
        self._end("failed", reason)

    def close(self) -> None:
        """Releases the lock."""
        os.close(self._lock)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if isinstance(error, Stopped | KeyboardInterrupt):
            self._end("stopped", str(error) or "interrupted")
        elif kind is not None:
            self.fail(f"{kind.__name__}: {error}")
        self.close()

    def _end(self, status: str, reason: str) -> None:
        self.manifest |= {"status": status, "reason": reason, "ended": _now()}
        self.record_checkpoints()

    def _write_manifest(self) -> None:
        replace_text(self.path / MANIFEST, json.dumps(self.manifest, indent=2, ensure_ascii=False) + "\n")


def stage_folders(path: Path) -> list[Path]:
    """The stage folders `K-NAME` of a run folder, in order."""
    return sorted((path / "stages").glob("*-*"), key=lambda stage: int(stage.name.partition("-")[0]))


def read_yaml(text: str) -> Any:
    """YAML 1.2 as plain Python values."""
    return YAML(typ="safe", pure=True).load(text)


def _check_mode(path: Path, mode: Mode) -> None:
    if path.exists() and not path.is_dir():
        raise RunFolderError(f"{path} is not a folder")
    entries = [entry for entry in path.iterdir() if entry.name != LOCK] if path.exists() else []
    match mode:
        case Mode.NEW if entries:
            raise RunFolderError(f"{path} exists; use --resume to go on or --fresh to start again")
        case Mode.FRESH if entries and not _is_run_folder(path):
            raise RunFolderError(f"{path} has no {MANIFEST} of a run, so --fresh does not remove it; choose another run.dir")
        case Mode.RESUME if not (_is_run_folder(path) and (path / CONFIG).is_file()):
            raise RunFolderError(f"{path} has no {MANIFEST} and {CONFIG} of a run, so there is nothing to resume")


def _is_run_folder(path: Path) -> bool:
    try:
        return "run_id" in json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return False


def _take_lock(path: Path) -> int:
    """The descriptor of the locked file; the kernel releases it when the process dies, however it dies."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.read(descriptor, 200).decode()
        os.close(descriptor)
        raise RunFolderError(f"{path} is in use by {holder}") from None
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {platform.node()}".encode())
    return descriptor


def _prepare(path: Path, config: Config, config_text: str, mode: Mode) -> dict[str, Any]:
    """The manifest to start with; empties the folder in mode FRESH."""
    now = _now()
    environment = {
        "status": "running",
        "reason": "",
        "started": now,
        "ended": None,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "git_commit": _git_commit(),
        "packages": {item.name: item.version for item in sorted(importlib.metadata.distributions(), key=lambda item: item.name)},
    }
    if mode is Mode.RESUME:
        saved = read_yaml((path / CONFIG).read_text(encoding="utf-8"))
        old: dict[str, Any] = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        began_with = old.get("precision", {}).get("dtype") or saved["model"].get("dtype", AUTO)
        _check_same_meaning(saved, read_yaml(config_text), began_with)
        if began_with != AUTO:
            old.setdefault("precision", {"dtype": began_with, "reason": "as the run began"})
        return old | environment | {"attempt": old["attempt"] + 1}
    for entry in list(path.iterdir()):
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name not in (LOCK, MANIFEST):  # the manifest is replaced later: until then the folder stays recognisable
            entry.unlink()
    identity = {"run_id": uuid.uuid4().hex, "name": config.run.name, "seed": config.run.seed, "created": now, "attempt": 1}
    return identity | environment | {"stages": {}}


def _check_same_meaning(saved: Any, new: Any, dtype: str) -> None:
    """Raise RunFolderError if a configuration means another run than the saved one, which computes in `dtype`."""
    old_values = {key: dtype if _is_dtype(key) and value == AUTO else value for key, value in _leaves(saved)}
    new_values = dict(_leaves(new))
    differing = [
        f"{key} (was {old_values.get(key)!r}, now {new_values.get(key)!r})"
        for key in sorted(old_values.keys() | new_values.keys())
        if old_values.get(key) != new_values.get(key) and not _may_change(key, old_values.get(key), new_values.get(key))
    ]
    if differing:
        raise RunFolderError(
            f"the configuration differs from the run's: {', '.join(differing)}; put it back, or use --fresh or another run.dir"
        )


def _is_dtype(key: str) -> bool:
    return any(fnmatchcase(key, pattern) for pattern in DTYPES)


def _may_change(key: str, old: Any, new: Any) -> bool:
    if _is_dtype(key):
        return bool(new == AUTO)
    if fnmatchcase(key, MAY_GROW):
        return isinstance(old, int) and isinstance(new, int) and new > old
    return any(fnmatchcase(key, pattern) for pattern in MAY_CHANGE)


def _leaves(value: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys and values of nested mappings and lists; an empty one is a leaf."""
    items = value.items() if isinstance(value, Mapping) else enumerate(value) if isinstance(value, list) else ()
    children = [leaf for key, item in items for leaf in _leaves(item, f"{prefix}.{key}" if prefix else str(key))]
    yield from children if children else [(prefix, value)]


def _git_commit() -> str | None:
    """The checkout's commit, with `-dirty` after it when files are changed; None outside a checkout."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=10, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return answer.stdout.strip() or None


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
