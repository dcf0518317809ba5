"""The dtype of a run: chosen at its first start, kept at all others."""

from clusters.machines import machines
from tower_rl.config.schema import Config
from tower_rl.models.precision import Precision, choose, warning, with_dtype
from tower_rl.reporting.progress import Progress
from tower_rl.runfolder import RunFolder


def settled(config: Config, folder: RunFolder, progress: Progress) -> Config:
    """Return the configuration with the dtype of the run in place of `auto`; the manifest has it and the reason.

    Raises:
        RunError: if the nodes of the cluster cannot be asked.
    """
    asked = config.model.dtype
    if asked == "float32" or folder.dtype == "float32":
        found = []
        chosen = Precision("float32", "as configured")
    else:
        found = machines(config)
        chosen = choose(found) if asked == "auto" else Precision(asked, "as configured")
    if folder.dtype is None:
        folder.record_precision(chosen.dtype, chosen.reason)
    dtype = str(folder.dtype)
    if told := warning(dtype, found):
        progress.warning(told)
    return with_dtype(config, dtype)
