"""evalplus's rules for when an output is right (package evalplus 0.3.1), applied to data outside the jail."""

from typing import Any

from verifiers.code.problems import EvalplusProblem

_RTOL, _FLOAT_ATOL = 1e-7, 1e-6


def only_presence(problem: EvalplusProblem) -> bool:
    """Whether just None or not None is compared, as the outputs of the problem are no data."""
    return problem.dataset == "mbpp" and problem.entry_point in _tables().MBPP_OUTPUT_NOT_NONE_TASKS


def right(problem: EvalplusProblem, args: list[Any], found: Any, expected: Any) -> bool:
    """Python's `==` with a tolerance for floats, and evalplus's special cases."""
    rule = _mbpp if problem.dataset == "mbpp" else _humaneval
    try:
        special = rule(problem, args, found, expected)
        return _equal(found, expected, problem.atol) if special is None else special
    except (TypeError, ValueError, ArithmeticError):  # the answer is no number, no set, ...
        return False


def _humaneval(problem: EvalplusProblem, args: list[Any], found: Any, expected: Any) -> bool | None:
    if problem.entry_point == "find_zero":
        return abs(_tables()._poly(*args, found)) <= problem.atol
    return None


def _mbpp(problem: EvalplusProblem, args: list[Any], found: Any, expected: Any) -> bool | None:
    """The verdict of a special case, or None for the general rule."""
    tables, name = _tables(), problem.entry_point
    if name in tables.MBPP_OUTPUT_SET_EQ_TASKS:
        return set(found) == set(expected)
    special = (
        name == "are_equivalent"  # evalplus takes any answer to this one
        or (name == "sum_div" and found == 0)
        or (name == "surface_Area" and abs(found - tables._surface_Area(*args)) <= problem.atol)
        or (name == "digit_distance_nums" and found == tables._digit_distance_nums(*args))
    )
    return special or None


def _equal(found: Any, expected: Any, atol: float) -> bool:
    if found == expected:
        return True
    atol = atol or (_FLOAT_ATOL if _floats(expected) else 0.0)
    return bool(atol) and type(found) is type(expected) and _close(found, expected, atol)


def _floats(value: Any) -> bool:
    return isinstance(value, float) or (
        isinstance(value, list | tuple) and bool(value) and all(isinstance(each, float) for each in value)
    )


def _close(found: Any, expected: Any, atol: float) -> bool:
    if isinstance(expected, list | tuple):
        return len(found) == len(expected) and all(_close(*pair, atol) for pair in zip(found, expected, strict=True))
    return abs(found - expected) <= atol + _RTOL * abs(expected)


def _tables() -> Any:
    from evalplus.eval import _special_oracle  # a fifth of a second of import, for few problems

    return _special_oracle
