"""Values of the reference are found for exactly what they were computed from, whole or not at all."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from preference_rows import pair

from tower_rl.data.preference.reference import ReferenceCache

PAIRS = [pair("s/1", chosen=3, rejected=2), pair("s/2", chosen=1, rejected=4, tokens=5)]
SIDES = [
    (np.float32([-1, -2, -3]), np.float32([-4, -5])),
    (np.float32([-6]), np.float32([-7, -8, -9, -10])),
]

KILLED = """
import os, signal, sys
import numpy
from pathlib import Path
from test_reference import PAIRS, SIDES, ReferenceCache

def die(file, values):
    file.write(b"half of it")
    file.flush()
    os.kill(os.getpid(), signal.SIGKILL)

numpy.save = die
ReferenceCache(sys.argv[1], Path(sys.argv[2]), "float32").keep(PAIRS, SIDES)
"""


@pytest.fixture
def model(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    return folder


@pytest.fixture
def cache(tmp_path: Path, model: Path) -> ReferenceCache:
    kept = ReferenceCache(str(tmp_path / "cache"), model, "float32")
    kept.keep(PAIRS, SIDES)
    return kept


def same(found):
    for one, other in zip(found, SIDES, strict=True):
        for values, wanted in zip(one, other, strict=True):
            np.testing.assert_array_equal(values, wanted, strict=True)
    return True


def test_what_is_kept_is_found_in_the_next_run(cache: ReferenceCache, tmp_path: Path, model: Path) -> None:
    assert same(cache.find(PAIRS)) and same(ReferenceCache(str(tmp_path / "cache"), model, "float32").find(PAIRS))


def test_the_home_folder_has_a_short_name(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    ReferenceCache("~/kept", model, "float32").keep(PAIRS, SIDES)
    assert len(list((tmp_path / "kept" / "reference").iterdir())) == 1


def test_scores_and_names_do_not_matter(cache: ReferenceCache) -> None:
    first, second = PAIRS
    other = replace(first, prompt=replace(first.prompt, id="s/9", cursor=7), chosen=replace(first.chosen, score=0.1, origin="x"))
    assert same(cache.find([other, second]))


def swapped(one):
    return replace(one, chosen=one.rejected, rejected=one.chosen)


def shifted(one):
    """The same tokens in a row, with another border between prompt and answer."""
    ids = one.chosen.token_ids
    prompt = replace(one.prompt, token_ids=(*one.prompt.token_ids, ids[0]))
    return replace(one, prompt=prompt, chosen=replace(one.chosen, token_ids=ids[1:]))


@pytest.mark.parametrize(
    "others",
    [
        PAIRS[::-1],
        PAIRS[:1],
        [*PAIRS, PAIRS[0]],
        [swapped(PAIRS[0]), PAIRS[1]],
        [shifted(PAIRS[0]), PAIRS[1]],
        [PAIRS[0], pair("s/2", chosen=1, rejected=4, tokens=4)],
        [PAIRS[0], replace(PAIRS[1], chosen=replace(PAIRS[1].chosen, token_ids=(9,)))],
    ],
)
def test_other_pairs_are_not_found(cache: ReferenceCache, others) -> None:
    assert cache.find(others) is None


def test_another_model_or_dtype_is_not_found(cache: ReferenceCache, tmp_path: Path, model: Path) -> None:
    folder = str(tmp_path / "cache")
    assert ReferenceCache(folder, model, "bfloat16").find(PAIRS) is None
    os.utime(model / "model.safetensors", ns=(1, 1))  # written anew with the same size
    assert ReferenceCache(folder, model, "float32").find(PAIRS) is None


def test_other_files_of_the_model_do_not_matter(cache: ReferenceCache, tmp_path: Path, model: Path) -> None:
    (model / "README.md").write_text("read me")
    assert same(ReferenceCache(str(tmp_path / "cache"), model, "float32").find(PAIRS))


def test_a_kill_while_writing_leaves_nothing(tmp_path: Path, model: Path) -> None:
    folder = str(tmp_path / "cache")
    paths = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    command = [sys.executable, "-c", KILLED, folder, str(model)]
    ended = subprocess.run(command, env=os.environ | {"PYTHONPATH": paths}, timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    (left,) = (tmp_path / "cache" / "reference").iterdir()
    assert left.read_bytes() == b"half of it"
    cache = ReferenceCache(folder, model, "float32")
    assert cache.find(PAIRS) is None
    cache.keep(PAIRS, SIDES)
    assert same(cache.find(PAIRS))


def test_an_error_while_writing_leaves_nothing(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(file, values):
        raise OSError("no space left on device")

    monkeypatch.setattr(np, "save", full)
    cache = ReferenceCache(str(tmp_path / "cache"), model, "float32")
    with pytest.raises(OSError, match="no space"):
        cache.keep(PAIRS, SIDES)
    assert cache.find(PAIRS) is None and list((tmp_path / "cache" / "reference").iterdir()) == []
