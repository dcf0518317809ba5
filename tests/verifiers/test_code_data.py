"""Data forms, comparison, pass@k and the loaders of code problems."""

import gzip
import json
from collections import Counter, OrderedDict, namedtuple
from enum import IntEnum
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers.code import datasets
from verifiers.code.compare import same, same_text
from verifiers.code.data import MAX_DEPTH, canonical, decode, encode
from verifiers.code.passk import mean_pass_at_k, pass_at_k
from verifiers.code.problems import problem

hashable = st.recursive(
    st.none() | st.booleans() | st.integers() | st.integers(2**62, 2**80) | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.tuples(inner, inner) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.recursive(
    hashable | st.complex_numbers(allow_nan=False) | st.sets(hashable, max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(hashable, inner, max_size=3) | st.tuples(inner),
    max_leaves=8,
)
numbers = st.integers() | st.floats(allow_nan=False) | st.text()


@settings(max_examples=300, deadline=None)
@given(values)
def test_values_come_back_with_their_types(value: Any) -> None:
    back = decode(json.loads(json.dumps(encode(value))))
    assert same(back, value) and same(value, back) and canonical(back) == canonical(value)


@settings(max_examples=300, deadline=None)
@given(values, values)
def test_same_is_equal_and_of_one_type(first: Any, second: Any) -> None:
    assert same(first, second) <= (first == second)
    assert same(first, second) == same(second, first)


@pytest.mark.parametrize(
    "value", [object(), lambda: 1, range(3), IntEnum("E", "A").A, namedtuple("N", "a")(1), np.float64(1), [{1: int}]]
)
def test_only_data_is_encoded(value: Any) -> None:
    with pytest.raises(TypeError):
        encode(value)


def test_depth_is_bounded() -> None:
    deep: list[Any] = []
    for _ in range(MAX_DEPTH + 1):
        deep = [deep]
    with pytest.raises(TypeError, match="deep"):
        encode(deep)
    with pytest.raises(ValueError, match="deep"):
        decode(deep)


def test_dictionaries_of_the_library_are_dictionaries() -> None:
    assert encode(Counter("aa")) == encode({"a": 2}) == encode(OrderedDict(a=2))


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"a": 1},
        {"list": []},
        {"int": 5},
        {"int": "0x5"},
        {"int": ""},
        {"float": "1.0"},
        {"float": []},
        {"bytes": "0"},
        {"bytes": 1},
        {"complex": [1, 2]},
        {"complex": [1.0]},
        {"tuple": "ab"},
        {"set": [[1]]},
        {"set": [1, 1]},
        {"dict": [[1]]},
        {"dict": [[{"dict": []}, 1]]},
        {"dict": [1]},
        {"dict": [[1, 2], [True, 2]]},
        {"tuple": [], "set": []},
    ],
)
def test_forms_are_strict(form: Any) -> None:
    with pytest.raises(ValueError):
        decode(form)


@pytest.mark.parametrize(
    ("found", "expected", "equal"),
    [
        ("1\n", "1", True),
        ("1  \n2\n\n", "1\n2", True),
        ("1\r\n2", "1\n2", True),
        (" 1", "1", False),
        ("1 2", "1\n2", False),
        ("\n1", "1", False),
        ("", "1", False),
        ("", "", True),
        ("1.0", "1", False),
    ],
)
def test_text(found: str, expected: str, equal: bool) -> None:
    assert same_text(found, expected) is equal


def test_pass_at_k_is_evalpluss() -> None:
    evalplus = pytest.importorskip("evalplus.eval")
    for samples in (1, 2, 5, 20, 200):
        for k in {1, samples // 2 or 1, samples}:
            counts = range(samples + 1)
            wanted = evalplus.estimate_pass_at_k(samples, list(counts), k)
            assert np.allclose([pass_at_k(samples, count, k) for count in counts], wanted, rtol=1e-12, atol=1e-12)


def test_pass_at_k() -> None:
    assert pass_at_k(2, 1, 1) == 0.5
    assert mean_pass_at_k([(2, 1), (4, 4)], 1) == 0.75
    assert pass_at_k(10**5, 1, 10) == pytest.approx(1e-4)
    for samples, passed, k in ((1, 2, 1), (1, 1, 2), (1, 1, 0), (1, -1, 1)):
        with pytest.raises(ValueError):
            pass_at_k(samples, passed, k)
    with pytest.raises(ValueError):
        mean_pass_at_k([], 1)


PLUS = {
    "task_id": "Mbpp/252",
    "prompt": '"""Angle of a complex number."""\n',
    "entry_point": "convert",
    "canonical_solution": "def convert(n):\n    import cmath\n    return cmath.polar(n)\n",
    "base_input": [["1j"]],
    "plus_input": [["(2+1j)"]],
    "atol": 0,
}
ROWS: dict[str, dict[str, Any]] = {
    "humaneval": {
        "task_id": "HumanEval/0",
        "prompt": "def f(x):\n",
        "entry_point": "f",
        "test": "def check(candidate):\n    assert candidate(1) == 1\n",
        "canonical_solution": "    return x\n",
    },
    "mbpp": {
        "task_id": 126,
        "text": "Sum.",
        "code": "import math\r\ndef sum(a,b):\r\n  return a + b",
        "test_setup_code": "",
        "test_list": ["assert sum(10,15) == 25"],
        "challenge_test_list": [],
    },
    "humaneval_plus": PLUS | {"base_input": [[1, [2.5, "a"]]], "plus_input": [[{"a": 1}, None]], "atol": 0.1},
    "mbpp_plus": PLUS,
}


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("zipped", [False, True])
def test_loaders_give_problems(tmp_path: Path, name: str, zipped: bool) -> None:
    if name == "mbpp_plus":
        pytest.importorskip("evalplus.data")
    text = json.dumps(ROWS[name]).encode() + b"\n"
    path = tmp_path / ("rows.jsonl.gz" if zipped else "rows.jsonl")
    path.write_bytes(gzip.compress(text) if zipped else text)
    ((_, prompt, meta),) = getattr(datasets, name)(path)
    assert prompt and problem(json.loads(json.dumps(meta)))


def test_inputs_of_mbpp_plus_have_their_types(tmp_path: Path) -> None:
    pytest.importorskip("evalplus.data")
    (tmp_path / "rows.jsonl").write_text(json.dumps(PLUS))
    ((_, _, meta),) = datasets.mbpp_plus(tmp_path / "rows.jsonl")
    assert decode(meta["base_input"][0]) == [1j]


@pytest.mark.parametrize("name", ROWS)
def test_a_missing_file_is_an_error_that_says_where_it_comes_from(tmp_path: Path, name: str) -> None:
    if name == "mbpp_plus":
        pytest.importorskip("evalplus.data")
    with pytest.raises(datasets.DatasetMissing, match=r"nowhere\.jsonl.*https://github\.com"):
        list(getattr(datasets, name)(tmp_path / "nowhere.jsonl"))


def test_a_wrong_row_is_named(tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text(json.dumps(ROWS["humaneval"]) + '\n{"task_id": 1}\n')
    with pytest.raises(ValueError, match=r"rows\.jsonl:2: not a row of humaneval: KeyError"):
        list(datasets.humaneval(tmp_path / "rows.jsonl"))
