"""Prints, as shell exports, pip's package sources in the variables uv reads: uv does not read pip's configuration.

Usage: eval "$(python scripts/uv_environment.py)". A variable that the caller has set already is left alone.
Needs pip in the running Python and nothing else.
"""

import ast
import os
import shlex
import subprocess
import sys

UV_NAME = {"index-url": "UV_DEFAULT_INDEX", "extra-index-url": "UV_INDEX", "find-links": "UV_FIND_LINKS", "cert": "SSL_CERT_FILE"}


def pip_settings(listing: str) -> dict[str, list[str]]:
    """The values that count for `pip install`, from the lines of `pip config list`."""
    found: dict[tuple[str, str], list[str]] = {}
    for line in listing.splitlines():
        key, _, value = line.partition("=")
        section, _, name = key.rpartition(".")
        found[section, name] = ast.literal_eval(value).split()
    settings: dict[str, list[str]] = {}
    for section in ("global", "install", ":env:"):  # the later one wins
        settings |= {name: values for (place, name), values in found.items() if place == section and values}
    return settings


def exports(settings: dict[str, list[str]], environment: dict[str, str]) -> list[str]:
    """`export` lines for what is set in pip and not in the environment."""
    wanted = {
        UV_NAME[name]: ("," if name == "find-links" else " ").join(values) for name, values in settings.items() if name in UV_NAME
    }
    if "extra-index-url" in settings:
        wanted["UV_INDEX_STRATEGY"] = "unsafe-best-match"  # as pip does: the best version of all indexes
    if settings.get("no-index", ["false"])[0].lower() in ("1", "true", "yes", "on"):
        wanted["UV_NO_INDEX"] = "1"
    return [f"export {name}={shlex.quote(value)}" for name, value in sorted(wanted.items()) if name not in environment]


if __name__ == "__main__":
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "config", "list"]
    listing = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    print("\n".join(exports(pip_settings(listing), dict(os.environ))))
