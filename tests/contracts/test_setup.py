"""The set-up script: refusals, failures, and how uv learns of pip's package sources. A whole set-up is what CI starts with."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture
def uv_environment() -> ModuleType:
    spec = importlib.util.spec_from_file_location("uv_environment", REPOSITORY / "scripts" / "uv_environment.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script and a lock file that no index can meet."""
    shutil.copytree(REPOSITORY / "scripts", tmp_path / "scripts")
    (tmp_path / "requirements").mkdir()
    (tmp_path / "requirements" / "cpu.lock").write_text("torch==0.0.0\nuv==0.0.0\n")
    return tmp_path


def set_up(checkout: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [checkout / "scripts" / "setup.sh", "cpu"],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


def test_another_python_is_refused_before_anything_is_made(checkout: Path) -> None:
    result = set_up(checkout, PYTHON="/bin/false")
    assert result.returncode == 2
    assert "needs Python 3.11" in result.stderr and "/bin/false" in result.stderr and "make setup PYTHON=" in result.stderr
    assert not (checkout / ".venv").exists()


def test_failure_shows_the_end_of_the_log_and_leaves_no_marker(checkout: Path) -> None:
    (checkout / ".venv").mkdir()
    (checkout / ".venv" / "half-finished").touch()
    result = set_up(checkout, PYTHON=sys.executable, PIP_NO_INDEX="1", PIP_FIND_LINKS="")
    assert result.returncode == 1
    assert "uv==0.0.0" in result.stderr and ".venv/setup.log" in result.stderr
    assert not list((checkout / ".venv").glob("ready*"))
    assert not (checkout / ".venv" / "half-finished").exists()


def test_uv_is_pinned_in_one_place() -> None:
    sources = [REPOSITORY / "Makefile", REPOSITORY / "pyproject.toml", REPOSITORY / ".ci" / "run"]
    sources += [*(REPOSITORY / "scripts").iterdir(), *(REPOSITORY / "requirements").glob("*.in")]
    pins = [path.name for path in sources if path.is_file() for line in path.read_text().splitlines() if line.startswith("uv==")]
    assert pins == ["base.in"]


def test_uv_gets_pips_sources(uv_environment: ModuleType) -> None:
    listing = "\n".join(
        [
            "global.index-url='https://one.example/'",
            "global.extra-index-url='\\nhttps://two.example/\\nhttps://three.example/'",
            "install.index-url='https://user:secret@four.example/'",
            "global.find-links='/a'",
            ":env:.find-links='/b /c'",
            "global.timeout='60'",
        ]
    )
    assert uv_environment.exports(uv_environment.pip_settings(listing), {}) == [
        "export UV_DEFAULT_INDEX=https://user:secret@four.example/",
        "export UV_FIND_LINKS=/b,/c",
        "export UV_INDEX='https://two.example/ https://three.example/'",
        "export UV_INDEX_STRATEGY=unsafe-best-match",
    ]


def test_what_the_user_set_for_uv_is_left_alone(uv_environment: ModuleType) -> None:
    settings = uv_environment.pip_settings("global.index-url='https://one.example/'\nglobal.no-index='true'\n")
    assert uv_environment.exports(settings, {"UV_DEFAULT_INDEX": "https://mine.example/"}) == ["export UV_NO_INDEX=1"]


def test_without_pip_settings_nothing_is_set(uv_environment: ModuleType) -> None:
    assert uv_environment.exports(uv_environment.pip_settings(""), {}) == []
