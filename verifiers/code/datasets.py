"""Problems from files: HumanEval, MBPP, HumanEval+ and MBPP+ as JSON lines, plain or gzipped. Nothing is downloaded.

Each loader gives (task id, prompt, meta for the verifier `code`) a row, and raises DatasetMissing, or ValueError with the row.
"""

import gzip
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

from verifiers.code.data import encode

Row = tuple[str, str, dict[str, Any]]
SOURCES = {
    "humaneval": "https://github.com/openai/human-eval, data/HumanEval.jsonl.gz",
    "mbpp": "https://github.com/google-research/google-research, mbpp/mbpp.jsonl",
    "humaneval+": "https://github.com/evalplus/humanevalplus_release, HumanEvalPlus.jsonl.gz",
    "mbpp+": "https://github.com/evalplus/mbppplus_release, MbppPlus.jsonl.gz",
}


class DatasetMissing(FileNotFoundError):
    """There is no such file; the message says where it comes from."""


def humaneval(path: Path) -> Iterator[Row]:
    """Prompts are to be completed."""
    return _rows(path, "humaneval", _humaneval)


def mbpp(path: Path) -> Iterator[Row]:
    """Prompts are a text and its asserts, as their authors show them."""
    return _rows(path, "mbpp", _mbpp)


def humaneval_plus(path: Path) -> Iterator[Row]:
    """Prompts are to be completed; right is what the canonical solution answers."""
    return _rows(path, "humaneval+", lambda row: _plus(row, "humaneval", row["base_input"], row["plus_input"]))


def mbpp_plus(path: Path) -> Iterator[Row]:
    """As HumanEval+. Needs the packages evalplus and datasets, for the types of the inputs."""
    from evalplus.data.mbpp import mbpp_deserialize_inputs  # imports pandas: seconds

    def meta(row: dict[str, Any]) -> Row:
        base, plus = (mbpp_deserialize_inputs(row["task_id"], row[key]) for key in ("base_input", "plus_input"))
        return _plus(row, "mbpp", base, plus)

    return _rows(path, "mbpp+", meta)


def _humaneval(row: dict[str, Any]) -> Row:
    meta = {"kind": "asserts", "function": row["entry_point"], "tests": row["test"], "prompt": row["prompt"]}
    return row["task_id"], row["prompt"], meta


def _mbpp(row: dict[str, Any]) -> Row:
    tests = [*row["test_list"], *row["challenge_test_list"]]
    meta = {"kind": "asserts", "function": _called(tests[0], row["code"]), "tests": tests, "setup": row["test_setup_code"]}
    return f"Mbpp/{row['task_id']}", "\n".join([row["text"], *row["test_list"]]), meta


def _called(test: str, code: str) -> str:
    """The function that an assert is about: what it calls and the right code defines. Raises ValueError."""
    defined = re.findall(r"^def\s+(\w+)", code, re.MULTILINE)
    called = [name for name in re.findall(r"(\w+)\s*\(", test) if name in defined]
    if not called:
        raise ValueError(f"{test!r} calls nothing of the code")
    return called[0]


def _plus(row: dict[str, Any], dataset: Literal["humaneval", "mbpp"], base: list[Any], plus: list[Any]) -> Row:
    meta = {key: row[key] for key in ("task_id", "entry_point", "prompt", "canonical_solution")}
    inputs = {"base_input": _forms(base), "plus_input": _forms(plus)}
    return row["task_id"], row["prompt"], {"kind": "evalplus", "dataset": dataset, "atol": float(row["atol"]), **meta, **inputs}


def _forms(inputs: list[Any]) -> list[Any]:
    return [encode([*args]) for args in inputs]


def _rows(path: Path, name: str, row: Callable[[dict[str, Any]], Row]) -> Iterator[Row]:
    if not path.is_file():
        raise DatasetMissing(f"no file {path}; {name} comes from {SOURCES[name]}")
    for number, fields in enumerate(read(path), 1):
        try:
            yield row(fields)
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path}:{number}: not a row of {name}: {type(error).__name__}: {error}") from error


def read(path: Path) -> Iterator[dict[str, Any]]:
    """The rows as they are. Raises OSError and, for a line that is no JSON, ValueError."""
    yield from map(json.loads, lines(path))


def lines(path: Path) -> Iterator[str]:
    """Of a text file, plain or gzipped. Raises OSError and, for what is no UTF-8, ValueError."""
    opened = gzip.open if path.suffix == ".gz" else open
    with opened(path, "rt", encoding="utf-8") as file:
        yield from file
