"""Find verifiers by name: entry points of the group `tower_rl.verifiers`, or a dotted `module:attribute`.

Dotted paths run any importable code, so they may come from a trusted configuration only, never from a data row.
"""

import hashlib
import importlib
import importlib.util
import json
from collections.abc import Mapping
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from verifiers.types import Verifier

if TYPE_CHECKING:
    from pydantic import BaseModel

GROUP = "tower_rl.verifiers"


class UnknownVerifier(LookupError):
    """No installed package provides a verifier of this name."""


class BrokenPlugin(ImportError):
    """An installed verifier cannot be used: two packages claim its name, or its import fails."""


class WrongOption(ValueError):
    """An option that the verifier does not have, or a value that it does not take."""


def known() -> list[str]:
    """Names of all installed verifiers, sorted; imports none of them. Raises BrokenPlugin when two packages claim one name."""
    return sorted(_installed())


def resolve(name_or_path: str) -> str:
    """The `module:attribute` behind a name, for processes that need not see the same installed packages.

    Raises UnknownVerifier and BrokenPlugin; a dotted path is returned as it is.
    """
    if ":" in name_or_path:
        return name_or_path
    installed = _installed()
    if name_or_path not in installed:
        raise UnknownVerifier(f"no verifier {name_or_path!r}; known: {', '.join(sorted(installed))}; or module:attribute")
    return installed[name_or_path].value


def load(name_or_path: str, **options: Any) -> Verifier:
    """An instance of the verifier. Raises UnknownVerifier, BrokenPlugin and WrongOption."""
    kind = verifier_class(name_or_path)
    return kind(validated(kind, name_or_path, options))


def check_options(name_or_path: str, options: Mapping[str, Any]) -> None:
    """Raise what `load` would raise, without making the verifier (which may be slow)."""
    validated(verifier_class(name_or_path), name_or_path, options)


def verifier_class(name_or_path: str) -> type[Verifier]:
    """Import the class behind a name. Raises UnknownVerifier and BrokenPlugin."""
    target = resolve(name_or_path)
    module, _, attribute = target.partition(":")
    try:
        kind = getattr(importlib.import_module(module), attribute)
        _ = kind.Options, kind.timeout_is_failure, kind.verify
    except Exception as error:
        raise BrokenPlugin(
            f"verifier {name_or_path!r}{_origin(name_or_path)} is not usable: {target}: {type(error).__name__}: {error}"
        ) from error
    return cast(type[Verifier], kind)


def group_aware(name_or_path: str) -> bool:
    """Whether the verifier sees a prompt's responses together. Raises UnknownVerifier and BrokenPlugin."""
    return bool(getattr(verifier_class(name_or_path), "group_aware", False))


def version(name_or_path: str) -> str:
    """A digest of the Python files of the top-level package that the verifier lives in: its judgement may change with them.

    Raises UnknownVerifier; a package without files gives the digest of nothing.
    """
    package = resolve(name_or_path).partition(":")[0].partition(".")[0]
    spec = importlib.util.find_spec(package)
    roots = list(spec.submodule_search_locations or []) if spec else []
    files = [path for root in roots for path in sorted(Path(root).rglob("*.py"))]
    if spec and spec.origin and not roots:
        files = [Path(spec.origin)]
    digest = hashlib.sha256()
    for path in files:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def validated(kind: type[Verifier], name: str, options: Mapping[str, Any]) -> "BaseModel":
    """The options as the verifier's own model. Raises WrongOption, which names the right ones."""
    from pydantic import ValidationError

    try:
        # By way of JSON: strict, and yet a list is taken for a tuple and a string for an enum.
        return kind.Options.model_validate_json(json.dumps(dict(options)))
    except (ValidationError, TypeError) as error:
        raise WrongOption(f"verifier {name!r}: {_complaints(error)}; its options: {_described(kind)}") from None


def _complaints(error: Exception) -> str:
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return f"options are JSON-like values: {error}"
    complaints = ((".".join(map(str, each["loc"])), each["msg"].removeprefix("Value error, ")) for each in error.errors())
    return "; ".join(f"{place or 'options'}: {complaint}" for place, complaint in complaints)


def _described(kind: type[Verifier]) -> str:
    fields = kind.Options.model_fields.items()
    described = (f"{name} ({'required' if field.is_required() else f'default {field.default!r}'})" for name, field in fields)
    return ", ".join(described) or "none"


def _origin(name: str) -> str:
    entry = _installed().get(name)
    return f" of package {_package(entry)!r}" if entry else ""


def _package(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "?"


@cache
def _installed() -> dict[str, EntryPoint]:
    found: dict[str, EntryPoint] = {}
    for entry in entry_points(group=GROUP):
        other = found.setdefault(entry.name, entry)
        if _package(other) != _package(entry):
            raise BrokenPlugin(f"two packages provide a verifier {entry.name!r}: {_package(other)} and {_package(entry)}")
    return found
