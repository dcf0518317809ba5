"""The environment of the example plug-in, for all tests of this folder."""

import subprocess
import sys
import sysconfig

import pytest
from processes import ROOT

PLUGIN = ROOT / "examples" / "verifier_plugin"


@pytest.fixture(scope="session")
def plugin_python(tmp_path_factory):
    """The interpreter of an environment that has the plug-in, and sees what this one has."""
    home = tmp_path_factory.mktemp("environment")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(home)], check=True, timeout=120)
    interpreter = home / "bin" / "python"
    (packages,) = home.glob("lib/python*/site-packages")
    (packages / "beneath.pth").write_text(f"{ROOT}\n{sysconfig.get_path('purelib')}\n")
    install = [sys.executable, "-m", "pip", "--python", str(interpreter), "install", "--no-deps", "--no-build-isolation"]
    subprocess.run([*install, "--quiet", str(copy_of(PLUGIN, home / "plugin"))], check=True, timeout=300)
    return interpreter


def copy_of(folder, target):
    """A build leaves files beside its sources; it gets a copy."""
    for path in folder.rglob("*"):
        if path.is_file() and "__pycache__" not in path.parts:
            (target / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (target / path.relative_to(folder)).write_bytes(path.read_bytes())
    return target
