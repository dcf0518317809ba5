"""The example plug-in, installed into an environment of its own beside this project's; test_run.py trains with it."""

import json
import subprocess

import pytest
from processes import ROOT

pytestmark = pytest.mark.ray

PLUGIN = ROOT / "examples" / "verifier_plugin"


def ran(python, *arguments, **options):
    result = subprocess.run([str(python), *arguments], cwd=ROOT, capture_output=True, text=True, timeout=120, **options)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


def test_it_is_listed_and_judges(plugin_python):
    listed = ran(plugin_python, "-m", "verifiers")
    assert "no_exclamation       No exclamation mark." in listed
    assert "plain_language" in listed
    row = json.dumps({"response": "Short. This one is too long."})
    assert json.loads(ran(plugin_python, "-m", "verifiers", "plain_language", "-", "most_words=3", input=row))["score"] == 0.5


def test_its_own_tests_pass(plugin_python):
    assert "4 passed" in ran(plugin_python, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(PLUGIN / "tests"))
