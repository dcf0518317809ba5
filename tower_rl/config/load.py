"""Reads a configuration file: YAML 1.2, `extends`, overrides, schema and rules.

All problems are reported at once, each with the file and line, or the override, where the bad value was written.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from pydantic import ValidationError
from ruamel.yaml.nodes import CollectionNode

from tower_rl.config.explain import explain
from tower_rl.config.read import Reader, YamlProblem, compose
from tower_rl.config.rules import check
from tower_rl.config.schema import Config
from tower_rl.config.tree import Node, Place, Problem, merge, place_of, plain, put
from tower_rl.config.words import show

REPOSITORY = Path(__file__).resolve().parents[2]
"""The folder above the package."""

NAMED = (("data", "sources"), ("data", "weights"), ("data", "corpora"), ("verifiers",))
"""Mappings whose keys are names that the user gives."""


class ConfigError(Exception):
    """A configuration that cannot be used; `problems` holds everything wrong with it, the text one line for each."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__(problems)
        self.problems = tuple(problems)

    def __str__(self) -> str:
        return "\n".join(map(str, self.problems))


def load(path: str | Path, overrides: Sequence[str] = ()) -> Config:
    """The configuration in a YAML file, with `key.path=value` overrides on top of it.

    A relative path is tried against the working directory, then against the repository: a Ray job's working directory may be any.
    A mapping in a file is merged into that of the file it extends, where null takes out an entry of `NAMED`; lists are replaced,
    and an override replaces whatever stands at its key.

    Raises ConfigError.
    """
    file = _located(str(path))
    tree, problems = _read_chain(file, Place(file), ())
    for override in overrides:
        tree, more = _apply(tree, override)
        problems += more
    try:
        config = Config.model_validate(plain(tree))
    except ValidationError as error:
        problems += [explain(details, tree) for details in error.errors(include_url=False)]
    else:
        problems += [Problem(place_of(tree, key), key, message) for key, message in check(config)]
        if not problems:
            return config
    raise ConfigError(sorted(problems, key=lambda problem: (problem.place.source, problem.place.line or 0)))


def _located(file: str) -> str:
    """Where a file lies: in the working directory, or else in the repository."""
    if Path(file).is_absolute() or Path(file).exists():
        return file
    shipped = REPOSITORY / file
    if not shipped.exists():
        raise ConfigError([Problem(Place(file), (), f"no such file, neither in {Path.cwd()} nor in {REPOSITORY}")])
    return str(shipped)


def _read_chain(file: str, asked: Place, below: tuple[str, ...]) -> tuple[Node, list[Problem]]:
    """The tree of a file merged over those it extends; `asked`: where the file was named; `below`: who extends it."""
    real = os.path.realpath(file)
    key = ("extends",) if below else ()
    if real in map(os.path.realpath, below):
        raise ConfigError([Problem(asked, key, f"forms a cycle: {' -> '.join((*below, file))}")])
    try:
        tree, problems = _parse(Path(file).read_text(encoding="utf-8-sig"), file)
    except OSError as error:
        about = f": {file}" if below else ""
        raise ConfigError([Problem(asked, key, _unreadable(error) + about)]) from error
    except UnicodeDecodeError as error:
        raise ConfigError([Problem(Place(file), (), f"is not UTF-8 text: {error.reason} at byte {error.start}")]) from error
    extends = tree.value.pop("extends", None) if isinstance(tree.value, dict) else None
    if extends is None:
        return tree, problems
    if not isinstance(extends.value, str):
        raise ConfigError([Problem(extends.place, ("extends",), f"must be the name of a file, not {show(plain(extends))}")])
    base_file = os.path.normpath(Path(file).parent / extends.value)
    base, more = _read_chain(base_file, extends.place, (*below, file))
    return merge(base, tree, NAMED), more + problems


def _unreadable(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "no such file"
    if isinstance(error, IsADirectoryError):
        return "is a folder, not a file"
    return f"cannot be read: {error.strerror}"


def _parse(text: str, file: str) -> tuple[Node, list[Problem]]:
    """The tree of a file's text. Raises ConfigError when it is not a YAML mapping."""
    try:
        yaml = compose(text, file)
    except YamlProblem as error:
        raise ConfigError([error.problem]) from error
    if yaml is None:
        raise ConfigError([Problem(Place(file), (), "is empty")])
    reader = Reader(file)
    tree = reader.node(yaml)
    if not isinstance(tree.value, dict):
        raise ConfigError([Problem(tree.place, (), f"must be a mapping of keys at the top, not {show(plain(tree))}")])
    # for what is missing or wrong at the top, the file's first line is the place, even after comments
    return Node(tree.value, Place(file, 1)), reader.problems


def _apply(tree: Node, override: str) -> tuple[Node, list[Problem]]:
    """The tree with an override, or as it was and what is wrong with the override."""
    place = Place(f"override {override}")
    name, equals, text = override.partition("=")
    if not equals or not name:
        return tree, [Problem(place, (), "must be key.path=value")]
    path = tuple(name.strip().split("."))
    try:
        yaml = compose(text, place.source)
    except YamlProblem as error:
        return tree, [Problem(place, path, error.problem.message)]
    reader = Reader(place.source, numbered=False)
    new = reader.node(yaml, path) if yaml else Node(None, place)
    if isinstance(yaml, CollectionNode) and not yaml.flow_style:
        return tree, [Problem(place, path, "put text in quotes, a list in [ ] and a mapping in { }")]
    try:
        return put(tree, path, new), reader.problems
    except LookupError as error:
        return tree, [Problem(place, path, error.args[0])]
