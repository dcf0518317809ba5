"""pydantic's errors in plain English, at the place where the value was written."""

from collections.abc import Callable, Mapping
from typing import Any

from pydantic_core import ErrorDetails

from tower_rl.config.section import NAME_PATTERN
from tower_rl.config.shape import kinds, locate
from tower_rl.config.tree import KeyPath, Node, Problem, place_of
from tower_rl.config.words import listed, nearest, show

_NAME_RULE = "must be letters, digits, '.', '_' or '-', and start with a letter or a digit"


def _literal(found: Any, context: Mapping[str, Any]) -> str:
    # pydantic writes the choices as 'a', 'b' or 'c'
    return f"must be {context['expected'].replace(chr(39), '')}, not {show(found)}"


def _pattern(found: Any, context: Mapping[str, Any]) -> str:
    rule = _NAME_RULE if context["pattern"] == NAME_PATTERN else f"must match {context['pattern']}"
    return f"{rule}; not {show(found)}"


def _too_short(found: Any, context: Mapping[str, Any]) -> str:
    return f"must have at least {context['min_length']} {_entries(context['min_length'])}, not {len(found)}"


def _too_long(found: Any, context: Mapping[str, Any]) -> str:
    return f"must have at most {context['max_length']} {_entries(context['max_length'])}, not {len(found)}"


def _entries(count: int) -> str:
    return "entry" if count == 1 else "entries"


def _must(what: str) -> Callable[[Any, Mapping[str, Any]], str]:
    """A message from a template over the error's context."""
    return lambda found, context: f"must be {what.format(**context)}, not {show(found)}"


_MESSAGES: dict[str, Callable[[Any, Mapping[str, Any]], str]] = {
    "missing": lambda found, context: "missing",
    "int_type": _must("a whole number"),
    "float_type": _must("a number"),
    "finite_number": _must("a finite number"),
    "bool_type": _must("true or false"),
    "string_type": _must("text"),
    "list_type": _must("a list"),
    "tuple_type": _must("a list"),
    "dict_type": _must("a mapping"),
    "model_type": _must("a mapping"),
    "model_attributes_type": _must("a mapping"),
    "greater_than": _must("greater than {gt:g}"),
    "greater_than_equal": _must("at least {ge:g}"),
    "less_than": _must("less than {lt:g}"),
    "less_than_equal": _must("at most {le:g}"),
    "literal_error": _literal,
    "string_pattern_mismatch": _pattern,
    "string_too_short": lambda found, context: "must not be empty",
    "too_short": _too_short,
    "too_long": _too_long,
}


def explain(error: ErrorDetails, tree: Node) -> Problem:
    """The problem behind one error of `Config.model_validate(plain(tree))`."""
    path, message = _say(error)
    return Problem(place_of(tree, path), path, message)


def _say(error: ErrorDetails) -> tuple[KeyPath, str]:
    path, holder = locate(error["loc"])
    kind, found = error["type"], error["input"]
    if kind == "extra_forbidden" and holder:
        return path, f"unknown key; {nearest(str(path[-1]), holder.model_fields)}"
    if kind == "literal_error" and path[-1] == "kind":
        return path, f"unknown kind {show(found)}; known: {error['ctx']['expected'].replace(chr(39), '')}"
    if kind == "union_tag_invalid":
        return (*path, "kind"), f"unknown kind {show(found['kind'])}; known: {listed(kinds(error['loc']))}"
    if kind == "union_tag_not_found":
        return _untagged(path, found, kinds(error["loc"]))
    say = _MESSAGES.get(kind)
    return path, say(found, error.get("ctx", {})) if say else error["msg"]


def _untagged(path: KeyPath, found: Any, known: list[str]) -> tuple[KeyPath, str]:
    """A mapping that does not tell which member of a union it is; a verifier tells it by its keys, others by `kind`."""
    if not isinstance(found, dict):
        return path, f"must be a mapping, not {show(found)}"
    if path[0] == "verifiers":
        return path, f"needs the key use, reward_model (a model) or weights (several as one); found: {listed(found)}"
    return (*path, "kind"), f"missing; known kinds: {listed(known)}"
