"""verifiers.registry: names, clashes, options. Plug-in packages are real folders with metadata on the path."""

import subprocess
import sys
from pathlib import Path

import pytest

from verifiers import load, registry

ROOT = Path(__file__).parents[2]


def plugin(folder: Path, package: str, name: str, target: str) -> str:
    """What an installed package with one verifier looks like to importlib.metadata."""
    info = folder / package / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[tower_rl.verifiers]\n{name} = {target}\n")
    return str(folder / package)


def run(code: str, *paths: str) -> str:
    """Output of a fresh interpreter that sees the plug-ins."""
    script = f"import sys; sys.path[:0] = {list(paths)}\nfrom verifiers import registry\n{code}"
    return subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True).stdout


OURS = (
    "bleu", "chrf", "code", "constraints", "format", "gsm8k", "json", "language", "length", "math", "pairwise", "similarity",
    "ter", "translation_rules",
)  # fmt: skip
NEEDED = {"pairwise": {"judge": "judges:longer"}}


@pytest.mark.parametrize("name", OURS)
def test_each_of_ours_loads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(Path(__file__).parent / "helpers"))
    verifier = load(name, **NEEDED.get(name, {}))
    assert (type(verifier).__doc__ or "").strip()
    assert len(registry.version(name)) == 64
    assert registry.group_aware(name) is (name in ("pairwise", "similarity"))


def test_known_and_resolve() -> None:
    assert registry.known() == list(OURS)
    assert registry.resolve("math") == "verifiers.math:Math"
    assert registry.resolve("any.module:Thing") == "any.module:Thing"


def test_unknown_name_lists_the_known() -> None:
    with pytest.raises(registry.UnknownVerifier, match=f"'maths'; known: {', '.join(OURS)}"):
        registry.resolve("maths")


def test_wrong_option_names_the_right_ones() -> None:
    with pytest.raises(registry.WrongOption, match=r"langage.*language.*last_number"):
        load("math", langage="de")
    with pytest.raises(registry.WrongOption, match="last_number"):
        registry.check_options("math", {"last_number": "yes"})
    with pytest.raises(registry.WrongOption, match="JSON-like"):
        registry.check_options("math", {"language": object()})
    registry.check_options("translation_rules", {"rules": ["placeholders", "tags"], "weights": {"tags": 2}})
    with pytest.raises(registry.WrongOption, match="rules: no rule nonsense; known: placeholders"):
        registry.check_options("translation_rules", {"rules": ["nonsense"]})


def test_new_package_is_found(tmp_path: Path) -> None:
    path = plugin(tmp_path, "acme", "acme_rules", "verifiers.constraints:Constraints")
    code = "print(' '.join(registry.known()), type(registry.load('acme_rules')).__name__)"
    assert run(code, path).split() == ["acme_rules", *OURS, "Constraints"]


def test_a_version_changes_with_the_files_of_the_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(tmp_path))
    module = tmp_path / "of_one_file.py"
    module.write_text("one = 1")
    first = registry.version("of_one_file:one")
    assert registry.version("of_one_file:one") == first
    module.write_text("one = 2")
    assert registry.version("of_one_file:one") != first


def test_clash_names_both_packages(tmp_path: Path) -> None:
    path = plugin(tmp_path, "acme", "math", "acme:Math")
    code = "try: registry.known()\nexcept registry.BrokenPlugin as error: print(error)"
    said = run(code, path)
    assert "'math'" in said
    assert "acme" in said
    assert "tower-rl" in said


@pytest.mark.parametrize("target", ["no_such_module:Thing", "verifiers.math:NoSuchClass", "json:dumps"])
def test_broken_import_names_the_package(tmp_path: Path, target: str) -> None:
    path = plugin(tmp_path, "acme", "broken", target)
    said = run("try: registry.load('broken')\nexcept registry.BrokenPlugin as error: print(error)", path)
    assert "'broken' of package 'acme' is not usable" in said
