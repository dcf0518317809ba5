"""Verdicts a second of each verifier, in its processes: `python benchmarks/verdicts.py [NAME ...]`.

2,000 tasks each, one in ten hostile (huge, deeply nested, endless, invisible or empty), judged by two workers. Latency is that of
a verdict without the wait for a free worker.
"""

import random
import sys
import time
from collections.abc import Callable

import numpy as np

from tower_rl.config.schema import CatalogueSource
from tower_rl.data import catalogue
from verifiers import Task, registry
from verifiers.constraints import instruction, sample_rules
from verifiers.pool import Pool, Spec

COUNT, HOSTILE_SHARE, WORKERS, MEMORY_MIB = 2000, 0.1, 2, 2048
OPTIONS = {"length": {"target": 30}}
HOSTILE = (
    r"\boxed{" + "{" * 3000 + "}" * 3000 + "}",
    r"\boxed{9^{9^{9^{9^9}}}}",
    r"\boxed{\frac{1}{" * 200 + "1" + "}}" * 200,
    r"\boxed{(x+1)^{9999}(x+2)^{9999}}",
    "<b>" * 5000,
    "%(a)s" * 5000,
    "a\u200b\u202e" * 5000,
    '{"a":' * 3000,
    "(" * 20000,
    "1, 2, 3, " * 5000,
    "",
)


def math_task(rng: random.Random) -> Task:
    """A fraction, right or wrong, in a sentence."""
    top, bottom = rng.randint(1, 99), rng.randint(2, 99)
    answer = rng.choice((f"{2 * top}}}{{{2 * bottom}", f"{top}}}{{{bottom + 1}"))
    return Task("What is it?", rf"So we get \boxed{{\frac{{{answer}}}}}.", rf"\frac{{{top}}}{{{bottom}}}")


def writing_task(rng: random.Random) -> Task:
    """A short text with two rules."""
    rules = sample_rules(rng, 2)
    text = " ".join(rng.choices(("river", "market", "the", "old", "window.", "Signal,"), k=rng.randint(5, 60)))
    return Task(" ".join(map(instruction, rules)), text, meta={"rules": rules})


def translations() -> Callable[[random.Random], Task]:
    """Catalogue segments, with their own translation or another one's."""
    source = CatalogueSource(kind="catalogue", languages=["de", "fr", "es", "pt_BR", "ru", "zh_Hans"], verifier="v")
    rows = catalogue.rows("catalogue", source)

    def task(rng: random.Random) -> Task:
        row = rng.choice(rows)
        response = row.reference if rng.random() < 0.5 else rng.choice(rows).reference
        return Task(row.messages[-1]["content"], response, row.reference, row.meta)

    return task


def tasks_for(name: str) -> Callable[[random.Random], Task]:
    """What a verifier is asked here: sums, rules, or translations."""
    if name in ("math", "gsm8k"):
        return math_task
    return writing_task if name in ("constraints", "format", "json", "length") else translations()


def measure(name: str, pool: Pool) -> str:
    """One line of the table."""
    rng = random.Random(0)
    make = tasks_for(name)
    tasks = [make(rng) for _ in range(COUNT)]
    for task in rng.sample(range(COUNT), int(COUNT * HOSTILE_SHARE)):
        honest = tasks[task]
        tasks[task] = Task(honest.prompt, rng.choice(HOSTILE), honest.reference, honest.meta)
    pool.verify(name, tasks[:20])  # the workers start and load
    begin = time.perf_counter()
    verdicts = pool.verify(name, tasks)
    rate = COUNT / (time.perf_counter() - begin)
    seconds = np.array([verdict.seconds for verdict in verdicts]) * 1e3
    invalid = sum(verdict.score is None for verdict in verdicts)
    return f"{name:<20}{rate:>12.0f}{np.percentile(seconds, 50):>10.2f}{np.percentile(seconds, 99):>10.2f}{invalid:>10}"


def main(names: list[str]) -> None:
    """Print the table."""
    names = names or [name for name in registry.known() if name != "pairwise"]  # as fast as the judge that one gives it
    print(f"{'verifier':<20}{'verdicts/s':>12}{'p50 ms':>10}{'p99 ms':>10}{'invalid':>10}")
    for name in names:
        spec = Spec(registry.resolve(name), OPTIONS.get(name, {}), group_aware=registry.group_aware(name))
        with Pool({name: spec}, WORKERS, MEMORY_MIB) as pool:
            print(measure(name, pool), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
