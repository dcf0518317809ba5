"""What the verifiers share that compare a response with a text."""

from verifiers.text import visible
from verifiers.types import Task, Verdict, invalid, scored

MOST_TIMES_LONGER = 20
"""A response this many times as long as what it is compared with (and 1000 characters) is not looked at."""


def rejected(response: str, *against: str) -> Verdict | None:
    """The verdict on a response that needs no comparison, because it is empty or far too long; else None."""
    if len(response) > MOST_TIMES_LONGER * max(map(len, against)) + 1000:
        return scored(0.0, reason=f"{len(response)} characters: far too long", flags=("far_too_long",))
    if not visible(response).strip():
        return scored(0.0, reason="an empty response", flags=("empty",))
    return None


def incomparable(task: Task) -> Verdict | None:
    """The verdict on a task whose response cannot, or need not, be compared with its reference text; else None."""
    if not isinstance(task.reference, str) or not visible(task.reference).strip():
        return invalid("the task has no reference text")
    return rejected(task.response, task.reference)
