"""Problems that a program makes: reasoning-gym's data sets, and instructions with checkable rules."""

import difflib
import itertools
import random
import warnings
from collections.abc import Iterable

from tower_rl.config.schema import ConstraintSource, ReasoningGymSource
from tower_rl.data.rows import DataError, Row, user_message
from verifiers.constraints import EXCLUSIVE, RULES, instruction

TOPICS = (
    "rain", "the sea", "a train journey", "bread", "a small garden", "winter", "coffee", "a lost key", "the moon",
    "an old bridge", "a school day", "cats", "a city at night", "birds", "a mountain walk", "music", "a birthday",
    "the market", "a rainy window", "bicycles", "a good book", "soup", "a letter", "the first snow", "an airport",
    "a quiet village", "football", "a broken clock", "the forest", "a doctor", "painting", "a summer storm", "tea",
    "a museum", "the harbour", "a telephone call", "neighbours", "a farm", "dreams", "the kitchen",
)  # fmt: skip


def reasoning_gym_rows(name: str, source: ReasoningGymSource, seed: int) -> list[Row]:
    """The different ones of `size` problems of the task, the same for the same seed.

    Raises DataError for an unknown task (with the nearest names) and for options that the task refuses.
    """
    with warnings.catch_warnings():  # a dependency compares with `is`; nothing that our users could mend
        warnings.simplefilter("ignore", SyntaxWarning)
        import reasoning_gym  # takes two seconds, which a run without such a source need not spend
        from reasoning_gym.factory import DATASETS

    if source.task not in DATASETS:
        raise DataError(f"source {name!r}: reasoning-gym has no task {source.task!r}; {_nearest(source.task, DATASETS)}")
    for option in ("seed", "size"):
        if option in source.options:
            raise DataError(f"source {name!r}: {option!r} is no option of the task: it comes from the configuration itself")
    try:
        problems = reasoning_gym.create_dataset(source.task, seed=seed, size=source.size, **source.options)
    except (TypeError, ValueError, AssertionError) as error:
        raise DataError(f"source {name!r}: the task {source.task!r} refuses its options: {error}") from error
    rows = []
    for number, problem in enumerate(problems):
        text = f"{problem['question']}\n{source.instruction}" if source.instruction else problem["question"]
        rows.append(Row(f"{name}/{source.task}/{number}", user_message(text), source.verifier, problem["answer"], {}))
    return _distinct(rows)


def constraint_rows(name: str, source: ConstraintSource, seed: int) -> list[Row]:
    """Short writing tasks, each with `rules_per_prompt` rules that go together: the different ones of `size`, the same for
    the same seed.

    Raises DataError for an unknown rule (with those known), and when no `rules_per_prompt` of the rules go together.
    """
    unknown = [rule for rule in source.rules if rule not in RULES]
    if unknown:
        raise DataError(f"source {name!r}: no rule {unknown[0]!r}; known are {', '.join(sorted(RULES))}")
    choices = [
        rules
        for rules in itertools.combinations(sorted(set(source.rules)), source.rules_per_prompt)
        if not any(len(group & set(rules)) > 1 for group in EXCLUSIVE)
    ]
    if not choices:
        raise DataError(f"source {name!r}: no {source.rules_per_prompt} of the rules {', '.join(source.rules)} go together")
    return _distinct([_constraint_row(name, source, choices, number, seed) for number in range(source.size)])


def _constraint_row(name: str, source: ConstraintSource, choices: list[tuple[str, ...]], number: int, seed: int) -> Row:
    rng = random.Random(f"{seed}/{name}/{number}")
    topic = rng.choice(TOPICS)
    rules = [{"rule": rule, **RULES[rule].sample(rng)} for rule in rng.choice(choices)]
    text = " ".join([f"Write a short text about {topic}.", *map(instruction, rules)])
    return Row(f"{name}/{number}", user_message(text), source.verifier, None, {"rules": rules})


def _distinct(rows: list[Row]) -> list[Row]:
    """The first row of each text: a generator that draws from few problems repeats itself, which is no fault of the data."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.messages[0]["content"], row)
    return list(first.values())


def _nearest(word: str, words: Iterable[str]) -> str:
    near = difflib.get_close_matches(word, list(words), n=5, cutoff=0.4)
    return f"nearest are {', '.join(near)}" if near else f"known are {', '.join(sorted(words))}"
