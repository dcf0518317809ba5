"""The gettext catalogues that an installed package carries: where they lie, and their entries."""

import importlib.util
import struct
from pathlib import Path

import polib

from tower_rl.data.rows import DataError


def package_folder(owner: str, package: str) -> Path:
    """Where an installed package lies; it is not imported.

    Raises DataError, which begins with `owner`, for a package that is not installed.
    """
    try:
        spec = importlib.util.find_spec(package)
    except ModuleNotFoundError:
        spec = None
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"{owner}: the package {package!r} is not installed in this environment")
    return Path(next(iter(spec.submodule_search_locations)))


def locale_folders(owner: str, package: str, root: Path) -> dict[str, list[Path]]:
    """The folders below `root` that hold catalogues, by locale name.

    Raises DataError, which begins with `owner`, where there are none.
    """
    folders: dict[str, list[Path]] = {}
    for folder in sorted(root.glob("**/locale/*/LC_MESSAGES")):
        if catalogues(folder):
            folders.setdefault(folder.parent.name, []).append(folder)
    if not folders:
        raise DataError(f"{owner}: the package {package!r} has no gettext catalogues (locale/LANGUAGE/LC_MESSAGES)")
    return folders


def folders_of(owner: str, package: str, folders: dict[str, list[Path]], language: str) -> list[Path]:
    """The folders of one language. Raises DataError, which begins with `owner`, for a language that the package lacks."""
    if language not in folders:
        raise DataError(f"{owner}: {package} has no catalogues of {language!r}; it has {', '.join(sorted(folders))}")
    return folders[language]


def catalogues(folder: Path) -> list[Path]:
    """The .po files, and the .mo files that have no .po file beside them."""
    texts = sorted(folder.glob("*.po"))
    stems = {path.stem for path in texts}
    return texts + sorted(path for path in folder.glob("*.mo") if path.stem not in stems)


def domain(root: Path, path: Path) -> str:
    """The catalogue's part of the package and its name, e.g. `contrib.admin.djangojs`; the same in every language."""
    return ".".join((*path.relative_to(root).parts[:-4], path.stem))


def load(path: Path) -> polib.POFile | polib.MOFile:
    """All entries of a catalogue; those of a .po file may be obsolete or fuzzy. A catalogue is small, and read as a whole.

    Raises DataError for a file that is damaged.
    """
    try:
        return polib.mofile(str(path)) if path.suffix == ".mo" else polib.pofile(str(path))
    except (OSError, ValueError, struct.error) as error:
        raise DataError(f"the catalogue {path} cannot be read: {error}") from error
