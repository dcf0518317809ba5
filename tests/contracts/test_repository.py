"""What may not stand in any file of the repository."""

import re
import subprocess
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
# Written so that this file does not hold what it looks for.
TORCH_INDEX = "Makefile: TORCH_INDEX ?= https://download.pytorch" + ".org/whl/cpu"
MACHINE_PATHS = re.compile("/" + r"(work|root|opt/(wheels|pypi\S*))" + "/")
INDEX_ADDRESSES = re.compile(
    r"pypi\.org" + r"/simple|pythonhosted" + r"\.org|download\.pytorch" + r"\.org|https?://\S+/simple" + r"\b"
)


def text_files() -> list[tuple[str, str]]:
    """Path and text of every file that is tracked or would be."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(command, cwd=REPOSITORY, check=True, capture_output=True, text=True).stdout.split("\0")
    files = []
    for name in filter(None, names):
        path = REPOSITORY / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            files.append((name, content.decode("utf-8", errors="replace")))
    return files


def lines_with(pattern: re.Pattern[str]) -> list[str]:
    return [f"{name}: {line.strip()}" for name, text in text_files() for line in text.splitlines() if pattern.search(line)]


def test_the_files_are_found() -> None:
    names = [name for name, _ in text_files()]
    assert "Makefile" in names
    assert len(names) > 50


def test_no_paths_of_the_machine_it_was_made_on() -> None:
    assert lines_with(MACHINE_PATHS) == []


def test_no_package_index_but_pytorchs() -> None:
    assert lines_with(INDEX_ADDRESSES) == [TORCH_INDEX]


def test_make_help_lists_every_target_and_make_alone_sets_up() -> None:
    text = (REPOSITORY / "Makefile").read_text()
    targets = re.findall(r"^([a-z][a-z0-9-]*):", text, re.MULTILINE)
    done = subprocess.run(["make", "--no-print-directory", "help"], cwd=REPOSITORY, check=True, capture_output=True, text=True)
    told = {name: about for name, _, about in (line.partition(" ") for line in done.stdout.splitlines())}
    assert list(told) == targets and targets[0] == "setup"
    assert told["check"].strip() == "lint, format, types, import contracts, unit tests"
    assert all(about.strip() for about in told.values())


def test_licence_is_apache_2() -> None:
    text = (REPOSITORY / "LICENSE").read_text()
    assert text.split()[:4] == ["Apache", "License", "Version", "2.0,"]
    assert "END OF TERMS AND CONDITIONS" in text
