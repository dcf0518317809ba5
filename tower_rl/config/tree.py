"""A configuration before validation: values that know the file and line they stand in."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Key = str | int
KeyPath = tuple[Key, ...]
Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Place:
    """Where a value was written."""

    source: str
    """A file, or the text of an override."""
    line: int | None = None
    """Line in the file, from 1."""

    def __str__(self) -> str:
        return self.source if self.line is None else f"{self.source}:{self.line}"


@dataclass(frozen=True)
class Problem:
    """One thing to correct; its text is one line."""

    place: Place
    path: KeyPath
    message: str

    def __str__(self) -> str:
        key = f"{dotted(self.path)}: " if self.path else ""
        return f"{self.place}: {key}{self.message}"


@dataclass(frozen=True)
class Node:
    """A mapping, a list or a scalar, with its place."""

    value: Mapping[str, "Node"] | Sequence["Node"] | Scalar
    place: Place


def dotted(path: KeyPath) -> str:
    """The path as it is written in messages and overrides: `stages.0.steps`."""
    return ".".join(map(str, path))


def merge(base: Node, top: Node, named: Collection[KeyPath] = (), path: KeyPath = ()) -> Node:
    """`top` over `base`: mappings key by key, anything else is replaced; in the mappings `named`, null takes an entry out."""
    if not (isinstance(base.value, Mapping) and isinstance(top.value, Mapping)):
        return top
    merged = dict(base.value)
    for key, node in top.value.items():
        if node.value is None and key in merged and path in named:
            del merged[key]
        else:
            merged[key] = merge(merged[key], node, named, (*path, key)) if key in merged else node
    return Node(merged, top.place)


def put(tree: Node, path: Sequence[str], new: Node) -> Node:
    """The tree with `new` at `path`, in the place of what is there; mappings on the way are made, list entries must exist.

    Raises LookupError, with a message for the user, where the path names a list entry that does not exist.
    """
    if not path:
        return new
    key, rest = path[0], path[1:]
    if isinstance(tree.value, list):
        if not (key.isdecimal() and int(key) < len(tree.value)):
            raise LookupError(f"there is no entry {key}; the list has {len(tree.value)}, counted from 0")
        entries = list(tree.value)
        entries[int(key)] = put(entries[int(key)], rest, new)
        return Node(entries, tree.place)
    children = dict(tree.value) if isinstance(tree.value, Mapping) else {}
    children[key] = put(children.get(key, Node({}, new.place)), rest, new)
    return Node(children, tree.place if isinstance(tree.value, Mapping) else new.place)


def plain(node: Node) -> Any:
    """The values without their places."""
    if isinstance(node.value, Mapping):
        return {key: plain(child) for key, child in node.value.items()}
    if isinstance(node.value, list):
        return [plain(child) for child in node.value]
    return node.value


def place_of(tree: Node, path: KeyPath) -> Place:
    """Where the value at `path` stands; for one that is absent, where the nearest mapping or list around it stands."""
    node = tree
    for key in path:
        if isinstance(node.value, Mapping) and key in node.value:
            node = node.value[str(key)]
        elif isinstance(node.value, list) and isinstance(key, int) and key < len(node.value):
            node = node.value[key]
        else:
            break
    return node.place
