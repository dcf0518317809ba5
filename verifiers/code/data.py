"""Values as JSON that keeps exact types. Standard library only: the jail gets a copy of this file.

None, bool, str, int, finite float and list are themselves; all else is an object with one key that names the type. Counter,
defaultdict and OrderedDict become dict, whose equals they are.
"""

import json
import math
import re
from collections import Counter, OrderedDict, defaultdict
from typing import Any

MAX_DEPTH = 60
_PLAIN_INT = 2**63
_DICTS = (dict, Counter, defaultdict, OrderedDict)
_SEQUENCES: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset}


def encode(value: Any, depth: int = 0) -> Any:
    """The JSON-like form of a value of exactly these types. Raises TypeError for any other (also a subclass), and for depth."""
    kind = type(value)
    if depth > MAX_DEPTH:
        raise TypeError("nested too deep")
    if value is None or kind is bool or kind is str:
        return value
    if kind is int:
        return value if -_PLAIN_INT < value < _PLAIN_INT else {"int": format(value, "x")}
    if kind is float:
        return value if math.isfinite(value) else {"float": str(value)}
    if kind is complex:
        return {"complex": [encode(value.real), encode(value.imag)]}
    if kind is bytes:
        return {"bytes": value.hex()}
    if kind is list:
        return [encode(each, depth + 1) for each in value]
    if kind is tuple:
        return {"tuple": [encode(each, depth + 1) for each in value]}
    if kind is set or kind is frozenset:
        return {kind.__name__: sorted((encode(each, depth + 1) for each in value), key=json.dumps)}
    if kind in _DICTS:
        return {"dict": [[encode(key, depth + 1), encode(each, depth + 1)] for key, each in value.items()]}
    raise TypeError(f"{kind.__name__} is no data")


def decode(form: Any, depth: int = 0) -> Any:
    """The value behind a form. Raises ValueError for what `encode` never gives."""
    if depth > MAX_DEPTH:
        raise ValueError("nested too deep")
    if form is None or type(form) in (bool, str, int, float):
        return form
    if type(form) is list:
        return [decode(each, depth + 1) for each in form]
    if type(form) is not dict or len(form) != 1:
        raise ValueError("not a form of data")
    ((name, content),) = form.items()
    try:
        return _tagged(name, content, depth)
    except TypeError as error:
        raise ValueError(f"not a {name}") from error


def _tagged(name: str, content: Any, depth: int) -> Any:
    if name == "int" and re.fullmatch(r"-?[0-9a-f]{1,1000000}", content):
        return int(content, 16)
    if name == "float" and content in ("nan", "inf", "-inf"):
        return float(content)
    if name == "bytes" and type(content) is str:
        return bytes.fromhex(content)
    if type(content) is not list:
        raise ValueError(f"not a {name}")
    if name == "complex":
        real, imaginary = (decode(part) for part in content)
        if type(real) is float and type(imaginary) is float:
            return complex(real, imaginary)
    if name in _SEQUENCES:
        items = _SEQUENCES[name](decode(each, depth + 1) for each in content)
        if len(items) == len(content):
            return items
    if name == "dict":
        pairs = {decode(key, depth + 1): decode(each, depth + 1) for key, each in content}
        if len(pairs) == len(content):
            return pairs
    raise ValueError(f"not a {name}")


def canonical(value: Any) -> str:
    """One string for values of the same types and content. Raises TypeError like `encode`."""
    return json.dumps(encode(value))
