"""A good configuration to change, and the problems of what it was changed into."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tower_rl.config.load import ConfigError, load
from verifiers import registry


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory, and a fixed set of installed verifiers."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "known", lambda: ["constraints", "math"])
    return tmp_path


@pytest.fixture
def problems() -> Callable[..., list[str]]:
    """The problems of a file `x.yaml` with a text, and of overrides."""

    def find(text: str, *overrides: str) -> list[str]:
        Path("x.yaml").write_text(text, encoding="utf-8")
        try:
            load("x.yaml", overrides)
        except ConfigError as error:
            assert str(error).splitlines() == [str(problem) for problem in error.problems]
            return [str(problem) for problem in error.problems]
        return []

    return find


@pytest.fixture
def good() -> str:
    return (Path(__file__).parent / "good.yaml").read_text(encoding="utf-8")


@pytest.fixture
def changed(good: str) -> Callable[[str, str], str]:
    """The good text with one passage replaced."""

    def change(old: str, new: str) -> str:
        assert good.count(old) == 1
        return good.replace(old, new)

    return change
