"""Run a configuration: `python -m tower_rl.run CONFIG [key.path=value ...] [--plan] [--dry-run] [--resume] [--fresh]`.

Exit codes: 0 done; 1 the run stopped with an error; 2 the request cannot be carried out (configuration, run folder, data,
model); 130 stopped by SIGTERM or Ctrl-C; 141 the reader of the output has gone, as in `| head -1`. What takes seconds to import
(torch, Ray, verl) is imported only once the configuration is known to be good.
"""

import argparse
import sys
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

from tower_rl.config.load import ConfigError, load
from verifiers.pipes import quiet_pipes

if TYPE_CHECKING:
    from tower_rl.config.schema import Config
    from tower_rl.reporting.progress import Progress
    from tower_rl.runfolder import RunFolder

EPILOGUE = """\
overrides: any key of the configuration, e.g.  rollout.group_size=16  stages.0.steps=50  'data.weights={de: 2, fr: 1}'
keys and their meaning: docs/config.md
"""


@quiet_pipes()
def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, check the configuration, run it; answers the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        config = load(options.config, options.overrides)
    except (ConfigError, ImportError) as error:  # the second: a plug-in whose name clashes or that cannot be read
        return _refuse(error)
    if options.plan:
        from clusters.plan import describe

        print(describe(config))
        return 0
    if options.dry_run:
        return _dry_run(config)
    return _run(config, resume=options.resume, fresh=options.fresh)


def _dry_run(config: "Config") -> int:
    from clusters.dry_run import dry_run
    from tower_rl.protocols import RunError

    try:
        print(dry_run(config))
        return 0
    except RunError as error:
        print(f"the dry run failed: {error}", file=sys.stderr)
        return 1


def _run(config: "Config", *, resume: bool, fresh: bool) -> int:
    from tower_rl.config.dump import dump
    from tower_rl.runfolder import Mode, RunFolder, RunFolderError

    try:
        folder = RunFolder.create(config, dump(config), Mode.RESUME if resume else Mode.FRESH if fresh else Mode.NEW)
    except RunFolderError as error:
        return _refuse(error)
    from tower_rl.checkpoint import CheckpointError
    from tower_rl.compose.precision import settled
    from tower_rl.data.rows import DataError
    from tower_rl.models.errors import ModelError
    from tower_rl.protocols import RunError
    from tower_rl.reporting.html import write_report
    from tower_rl.reporting.live import libraries_to
    from tower_rl.reporting.progress import Progress
    from tower_rl.status import publish
    from tower_rl.stopping import Stopped, terminable
    from verifiers.registry import BrokenPlugin, WrongOption

    for old in folder.logs.glob("*.status"):
        old.unlink()
    publish(folder.logs / "driver.status")
    progress = Progress()
    try:
        with terminable(), folder, libraries_to(folder.logs / "driver.log"), progress.live(folder.logs):
            config = settled(config, folder, progress)
            for index in range(len(config.stages)):
                _stage(config, index, folder, progress)
            folder.finish()
        return 0
    except (DataError, ModelError, CheckpointError, WrongOption, BrokenPlugin) as error:
        return _refuse(error)
    except RunError as error:
        print(f"the run stopped: {error}\nwhat it made is in {folder.path}; {_how_to_go_on(folder)}", file=sys.stderr)
        return 1
    except Stopped as stop:
        print(f"{stop}, with a checkpoint; go on with --resume (run folder {folder.path})", file=sys.stderr)
        return 130
    except KeyboardInterrupt:
        print(f"interrupted; {_how_to_go_on(folder)} (run folder {folder.path})", file=sys.stderr)
        return 130
    finally:
        write_report(folder.path)


def _stage(config: "Config", index: int, folder: "RunFolder", progress: "Progress") -> None:
    """Put a stage together and run it."""
    from tower_rl.config.stages import PreferenceStage, RlvrStage

    stage = config.stages[index]
    if isinstance(stage, RlvrStage):
        from tower_rl.compose import rlvr

        rlvr.run(config, stage, index, folder, progress)
    elif isinstance(stage, PreferenceStage):
        from tower_rl.compose import preference

        preference.run(config, stage, index, folder, progress)
    else:
        from tower_rl.compose import supervised

        supervised.run(config, stage, index, folder, progress)


def _how_to_go_on(folder: "RunFolder") -> str:
    newest = folder.newest_checkpoint()
    return f"go on with --resume, {'from the beginning: there is no checkpoint yet' if newest is None else f'from {newest}'}"


def _refuse(error: Exception) -> int:
    print(error, file=sys.stderr)
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=f"python -m {__spec__.name}" if __name__ == "__main__" and __spec__ else None,  # None: the name of the script
        description="Train a model as a configuration says.",
        epilog=EPILOGUE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, e.g. configs/demo.yaml")
    parser.add_argument("overrides", metavar="key.path=value", nargs="*", help="values that replace those of the file")
    parser.add_argument("--plan", action="store_true", help="print what would be placed where, and stop")
    parser.add_argument("--dry-run", action="store_true", help="place a stand-in for each actor on the cluster, and stop")
    parser.add_argument("--version", action="version", version=_version(), help="print the version, and stop")
    existing = parser.add_mutually_exclusive_group()
    existing.add_argument("--resume", action="store_true", help="go on from the newest checkpoint of run.dir")
    existing.add_argument("--fresh", action="store_true", help="remove what an earlier run left in run.dir")
    return parser


def _version() -> str:
    try:
        return f"tower-rl {version('tower-rl')}"
    except PackageNotFoundError:  # a checkout on the path, as a Ray job may have it
        return "tower-rl, of a checkout that is not installed"


if __name__ == "__main__":
    sys.exit(main())
