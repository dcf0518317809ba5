"""Problems in the manner of HumanEval, each with bodies that are right and wrong."""

from dataclasses import dataclass

import pytest

from verifiers import Status, Task, Verdict, verify
from verifiers.code import Code, CodeOptions

pytestmark = pytest.mark.jail


@dataclass(frozen=True)
class Problem:
    """A prompt that a body completes, and the tests."""

    function: str
    prompt: str
    tests: str
    right: tuple[str, ...]
    wrong: tuple[str, ...]


PROBLEMS = (
    Problem(
        "second_largest",
        '''\
from typing import List, Optional


def second_largest(numbers: List[int]) -> Optional[int]:
    """The second largest different number, or None.
    >>> second_largest([3, 1, 3])
    1
    """
''',
        """\

METADATA = {}


def check(candidate):
    assert candidate([3, 1, 3]) == 1
    assert candidate([]) is None
    assert candidate([5, 5]) is None
    assert candidate([-1, -2, -3]) == -2
""",
        right=(
            """found = sorted(set(numbers))
return found[-2] if len(found) > 1 else None""",
        ),
        wrong=(
            "return sorted(numbers)[-2]",
            "return 1",
        ),
    ),
    Problem(
        "run_lengths",
        '''\
def run_lengths(text):
    """Pairs of a character and how often it follows itself.
    run_lengths('aab') is [('a', 2), ('b', 1)]
    """
''',
        """\
def check(candidate):
    assert candidate('aab') == [('a', 2), ('b', 1)]
    assert candidate('') == []
    assert candidate('abba') == [('a', 1), ('b', 2), ('a', 1)], 'not a count: ' + str(candidate('abba'))
""",
        right=(
            """from itertools import groupby
return [(key, len(list(group))) for key, group in groupby(text)]""",
        ),
        wrong=(
            """from collections import Counter
return list(Counter(text).items())""",
            """from itertools import groupby
return [[key, len(list(group))] for key, group in groupby(text)]""",
        ),
    ),
    Problem(
        "decode_shift",
        '''\
def encode_shift(text: str) -> str:
    """Each letter three further."""
    return ''.join(chr((ord(each) - 97 + 3) % 26 + 97) for each in text)


def decode_shift(text: str) -> str:
    """Undo encode_shift."""
''',
        """\
def check(candidate):
    from random import choice, randint
    import string

    for _ in range(50):
        text = ''.join(choice(string.ascii_lowercase) for _ in range(randint(3, 9)))
        assert candidate(encode_shift(text)) == text
""",
        right=("return ''.join(chr((ord(each) - 97 - 3) % 26 + 97) for each in text)",),
        wrong=(
            "return ''.join(chr(ord(each) - 3) for each in text)",
            "return text",
        ),
    ),
    Problem(
        "root",
        '''\
def value(coefficients, x):
    """Of the polynomial at x."""
    return sum(each * x**power for power, each in enumerate(coefficients))


def root(coefficients):
    """Any zero of a polynomial of degree one."""
''',
        """\
def check(candidate):
    import copy
    import math
    import random

    for _ in range(30):
        coefficients = [random.randint(-9, 9), random.randint(1, 9)]
        found = candidate(copy.deepcopy(coefficients))
        assert math.fabs(value(coefficients, found)) < 1e-6
""",
        right=("return -coefficients[0] / coefficients[1]",),
        wrong=(
            "return -coefficients[0] // coefficients[1]",
            "return coefficients[0] / coefficients[1]",
            "return float('nan')",
        ),
    ),
    Problem(
        "shared",
        '''\
def shared(first, second):
    """What both hold, as a set."""
''',
        """\
def check(candidate):
    assert candidate([1, 2, 2], (2, 3)) == {2}
    assert candidate('ab', 'bc') == {'b'}
    assert candidate({}, []) == set()
""",
        right=(
            "return set(first) & set(second)",
            "return frozenset(first) & frozenset(second)",
        ),
        wrong=(
            "return [each for each in first if each in second]",
            "return set(first) | set(second)",
        ),
    ),
    Problem(
        "mean_by_key",
        '''\
def mean_by_key(rows):
    """Rows of (key, number): the mean of each key's numbers."""
''',
        """\
def check(candidate):
    assert candidate([('a', 1), ('b', 2), ('a', 2)]) == {'a': 1.5, 'b': 2}
    result = candidate([(1, 0.1), (1, 0.2), (None, 3)])
    assert abs(result[1] - 0.15) < 1e-9 and result[None] == 3
    assert candidate([]) == {}
""",
        right=(
            """from collections import defaultdict
numbers = defaultdict(list)
for key, number in rows:
    numbers[key].append(number)
return {key: sum(each) / len(each) for key, each in numbers.items()}""",
        ),
        wrong=(
            "return dict(rows)",
            "return {}",
        ),
    ),
    Problem(
        "factorial_digits",
        '''\
def factorial_digits(n):
    """n! as a number; ValueError below 0."""
''',
        """\
def check(candidate):
    assert candidate(0) == 1
    assert candidate(2000) % 10**499 == 0 and len(hex(candidate(2000))) > 4000
    assert candidate(5) == 120
    try:
        candidate(-1)
        assert False, 'no error'
    except ValueError:
        pass
""",
        right=(
            """if n < 0:
    raise ValueError(n)
result = 1
for each in range(2, n + 1):
    result *= each
return result""",
        ),
        wrong=(
            """result = 1
for each in range(2, n + 1):
    result *= each
return result""",
            """if n < 0:
    raise KeyError
return 120""",
        ),
    ),
    Problem(
        "fixed_point",
        '''\
def fixed_point(x):
    """Half of x, downwards."""
''',
        """\
def check(candidate):
    x = 20
    steps = 0
    while x and steps < 8:
        x = candidate(x)
        steps += 1
    assert (x, steps) == (0, 5)
    assert candidate(candidate(9)) == 2
""",
        right=("return x // 2",),
        wrong=(
            "return x // 3",
            "return x / 2",
            "return x",
        ),
    ),
    Problem(
        "rotate",
        '''\
def rotate(matrix):
    """A matrix (list of lists), turned to the right; the given one stays as it is."""
''',
        """\
def check(candidate):
    matrix = [[1, 2], [3, 4], [5, 6]]
    for turned in ([[5, 3, 1], [6, 4, 2]], [[6, 5], [4, 3], [2, 1]]):
        matrix = candidate(matrix)
        assert matrix == turned
    assert candidate([]) == []
""",
        right=("return [list(row) for row in zip(*matrix[::-1])]",),
        wrong=(
            "return list(zip(*matrix[::-1]))",
            "return [list(row) for row in zip(*matrix)]",
        ),
    ),
    Problem(
        "checksum",
        '''\
def checksum(data: bytes) -> int:
    """Sum of all bytes, modulo 255."""
''',
        """\
def check(candidate):
    assert candidate(b'') == 0
    assert candidate(b'\\xff\\x01') == 1
    assert candidate(bytes(range(200))) == sum(range(200)) % 255
""",
        right=("return sum(data) % 255",),
        wrong=(
            "return sum(data) % 256",
            "return len(data)",
        ),
    ),
    Problem(
        "is_balanced",
        '''\
def is_balanced(text):
    """Do the brackets of the text match?"""
''',
        """\
def check(candidate):
    def right(text, wanted):
        assert candidate(text) is wanted

    right('([])', True)
    right('([)]', False)
    right('((', False)
    right('', True)
    for count in range(1, 5):
        right('(' * count + ')' * count, True)
        right('(' * count + ')' * (count - 1), False)
""",
        right=(
            """stack = []
for each in text:
    if each in '([':
        stack.append(each)
    elif not stack or stack.pop() + each not in ('()', '[]'):
        return False
return not stack""",
        ),
        wrong=(
            "return text.count('(') == text.count(')')",
            "return True",
            "return 1",
        ),
    ),
    Problem(
        "sort_by_remainder",
        '''\
def sort_by_remainder(numbers, modulus):
    """Sorted by the remainder, else in the given order."""
''',
        """\
def check(candidate):
    assert candidate([5, 3, 4, 1], 3) == [3, 4, 1, 5]
    assert candidate([], 2) == []
    assert candidate(numbers=[2, 1], modulus=2) == [2, 1]
    assert tuple(candidate([1, 2], 1)) == tuple(sort_by_remainder([1, 2], 1))
""",
        right=("return sorted(numbers, key=lambda each: each % modulus)",),
        wrong=(
            "return sorted(numbers)",
            "return sorted(numbers, key=lambda each: (each % modulus, each))",
        ),
    ),
)
BODIES = [
    (each, body, passes) for each in PROBLEMS for passes in (True, False) for body in (each.right if passes else each.wrong)
]


@pytest.fixture(scope="module")
def code() -> Code:
    return Code(CodeOptions(test_seconds=0.3, seconds=1.0, memory_mib=256))


def judged(code: Code, problem: Problem, source: str) -> Verdict:
    meta = {"kind": "asserts", "function": problem.function, "prompt": problem.prompt, "tests": problem.tests}
    (verdict,) = verify(code, [Task(problem.prompt, f"```python\n{source}\n```", meta=meta)])
    return verdict


@pytest.mark.parametrize(("problem", "body", "passes"), BODIES, ids=lambda value: getattr(value, "function", None))
def test_bodies_and_whole_functions(code: Code, problem: Problem, body: str, passes: bool) -> None:
    indented = "\n".join("    " + line for line in body.split("\n"))
    for source in (body, problem.prompt + indented):
        verdict = judged(code, problem, source)
        assert verdict.status is Status.SCORED and verdict.passed is passes, verdict
