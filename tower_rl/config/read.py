"""YAML 1.2 text to a tree of nodes. ruamel.yaml parses; scalars follow the core schema of YAML 1.2.2, section 10.3.2.

ruamel's own reading of scalars is not used: it takes `2024-01-01` for a date and `1_000` for a number.
"""

import re
from collections.abc import Callable
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.nodes import MappingNode, ScalarNode, SequenceNode
from ruamel.yaml.nodes import Node as YamlNode
from ruamel.yaml.reader import ReaderError

from tower_rl.config.tree import KeyPath, Node, Place, Problem, Scalar
from tower_rl.config.words import show

_TAG = "tag:yaml.org,2002:"
_QUOTED = frozenset({_TAG + "str"})
# what ruamel gives to scalars without a tag
_PLAIN = frozenset(_TAG + kind for kind in ("null", "bool", "int", "float", "str", "timestamp", "value", "merge"))
_CORE: list[tuple[re.Pattern[str], Callable[[str], Scalar]]] = [
    (re.compile(r"(null|Null|NULL|~|)\Z"), lambda _: None),
    (re.compile(r"(true|True|TRUE|false|False|FALSE)\Z"), lambda text: text.lower() == "true"),
    (re.compile(r"[-+]?[0-9]+\Z"), int),
    (re.compile(r"0o[0-7]+\Z"), lambda text: int(text[2:], 8)),
    (re.compile(r"0x[0-9a-fA-F]+\Z"), lambda text: int(text[2:], 16)),
    (re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z"), float),
    (re.compile(r"[-+]?\.(inf|Inf|INF)\Z"), lambda text: float(text.replace(".", ""))),
    (re.compile(r"\.(nan|NaN|NAN)\Z"), lambda _: float("nan")),
]


def compose(text: str, source: str) -> YamlNode | None:
    """The syntax tree of one YAML document, None for an empty one.

    Raises YamlProblem when the text is not YAML.
    """
    try:
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        raise YamlProblem(Problem(Place(source, line), (), f"not valid YAML: {error.problem}")) from error
    except ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        message = f"not valid YAML: the character U+{error.character:04X} is not allowed"
        raise YamlProblem(Problem(Place(source, line), (), message)) from error
    except YAMLError as error:
        raise YamlProblem(Problem(Place(source), (), f"not valid YAML: {str(error).splitlines()[0]}")) from error


class YamlProblem(Exception):
    """Text that is not YAML; `problem` says where and why."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(str(problem))
        self.problem = problem


class Reader:
    """Turns syntax trees into nodes; what is wrong on the way is added to `problems`."""

    def __init__(self, source: str, numbered: bool = True) -> None:
        """`numbered` is False for an override, which has no lines."""
        self.source = source
        self.numbered = numbered
        self.problems: list[Problem] = []

    def node(self, yaml: YamlNode, path: KeyPath = (), place: Place | None = None, around: tuple[int, ...] = ()) -> Node:
        """The node of `yaml`, at `place` (the line of its key) or else at its own line; `around`: the nodes it stands in."""
        place = place or self._place(yaml)
        if id(yaml) in around:
            return self._refused(place, path, "an alias must not refer to what it stands in")
        around = (*around, id(yaml))
        if isinstance(yaml, ScalarNode):
            return Node(self._scalar(yaml, path, place), place)
        if isinstance(yaml, SequenceNode) and yaml.tag == _TAG + "seq":
            entries = [self.node(child, (*path, index), None, around) for index, child in enumerate(yaml.value)]
            return Node(entries, place)
        if isinstance(yaml, MappingNode) and yaml.tag == _TAG + "map":
            return Node(self._children(yaml, path, around), place)
        return self._refuse_tag(yaml, path, place)

    def _children(self, yaml: MappingNode, path: KeyPath, around: tuple[int, ...]) -> dict[str, Node]:
        children: dict[str, Node] = {}
        for key_node, value_node in yaml.value:
            place = self._place(key_node)
            key = self._key(key_node, path, place)
            if key is None:
                continue
            if key in children:
                first = children[key].place.line
                where = f"; first on line {first}" if first else ""
                self.problems.append(Problem(place, (*path, key), f"duplicate key{where}"))
            children[key] = self.node(value_node, (*path, key), place, around)
        return children

    def _key(self, yaml: YamlNode, path: KeyPath, place: Place) -> str | None:
        key: Scalar | list[Any] = self._scalar(yaml, path, place) if isinstance(yaml, ScalarNode) else []
        if yaml.tag == _TAG + "merge":
            self._refused(place, path, "<< is not YAML 1.2; use extends")
        elif not isinstance(key, str):
            self._refused(place, path, f"a key must be text, not {show(key)}")
        else:
            return key
        return None

    def _scalar(self, yaml: ScalarNode, path: KeyPath, place: Place) -> Scalar:
        if yaml.tag not in (_QUOTED if yaml.style else _PLAIN):
            self._refuse_tag(yaml, path, place)
        if yaml.tag == _TAG + "str":
            return str(yaml.value)
        return core_scalar(yaml.value)

    def _refuse_tag(self, yaml: YamlNode, path: KeyPath, place: Place) -> Node:
        return self._refused(place, path, f"the tag {str(yaml.tag).replace(_TAG, '!!')} is not supported")

    def _refused(self, place: Place, path: KeyPath, message: str) -> Node:
        self.problems.append(Problem(place, path, message))
        return Node(None, place)

    def _place(self, yaml: YamlNode) -> Place:
        return Place(self.source, yaml.start_mark.line + 1 if self.numbered else None)


def core_scalar(text: str) -> Scalar:
    """The value of an unquoted scalar by YAML 1.2's core schema: `1e-6` is a number, `no` is text."""
    for pattern, build in _CORE:
        if pattern.match(text):
            return build(text)
    return text
