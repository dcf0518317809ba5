"""Judge a file of responses: `python -m verifiers`, `python -m verifiers NAME FILE.jsonl|- [option=value ...]`.

Without arguments it lists the installed verifiers. Rows have the fields of a Task: prompt, response, reference, meta, messages;
only the response is needed. One JSON verdict a row goes to standard output in the order of the rows, a summary to standard error.
Exit code 2: unknown verifier, wrong option, unreadable file, or a malformed row (reported by its number; the rest goes on).
"""

import json
import os
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import fields
from itertools import islice
from statistics import mean
from typing import Any

from verifiers import registry, wire
from verifiers.pipes import quiet_pipes
from verifiers.pool import Pool, Spec
from verifiers.text import strict_json
from verifiers.types import Status, Task, Verdict

WRONG_INPUT = 2
_BATCH = 256
_MEMORY_MIB = 2048
_KINDS = {"prompt": str, "response": str, "meta": dict, "messages": list}


@quiet_pipes()
def main(arguments: list[str]) -> int:
    """Returns the exit code."""
    if not arguments:
        return list_verifiers()
    if arguments[0] in ("-h", "--help") or len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        return 0 if arguments[0] in ("-h", "--help") else WRONG_INPUT
    name, path, *settings = arguments
    try:
        target = registry.resolve(name)
        options = dict(map(option, settings))
        registry.check_options(name, options)
        lines = sys.stdin if path == "-" else open(path, encoding="utf-8", errors="surrogateescape")  # noqa: SIM115
    except (registry.UnknownVerifier, registry.BrokenPlugin, registry.WrongOption, OSError) as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    spec = Spec(target, options, group_aware=registry.group_aware(name))
    with lines, Pool({name: spec}, os.cpu_count() or 1, _MEMORY_MIB) as pool:
        return judge_lines(pool, name, lines, None if spec.group_aware else _BATCH)


def list_verifiers() -> int:
    """Print the name and the first line of the docstring of each installed verifier."""
    code = 0
    for name in registry.known():
        try:
            about = (registry.verifier_class(name).__doc__ or "").strip().splitlines()
        except registry.BrokenPlugin as error:
            print(error, file=sys.stderr)
            code = WRONG_INPUT
            continue
        print(f"{name:20} {about[0] if about else ''}")
    return code


def judge_lines(pool: Pool, name: str, lines: Iterable[str], batch_size: int | None) -> int:
    """Print one verdict for each row and a summary; returns the exit code. Rows are read in batches; None for all at once."""
    verdicts: list[Verdict] = []
    malformed = 0
    numbered = ((number, line) for number, line in enumerate(lines, 1) if line.strip())
    while batch := list(islice(numbered, batch_size)):
        tasks: dict[int, Task] = {}
        for number, line in batch:
            try:
                tasks[number] = _task(line)
            except ValueError as error:
                malformed += 1
                print(f"line {number}: {error}", file=sys.stderr)
        for number, verdict in zip(tasks, pool.verify(name, list(tasks.values())), strict=True):
            verdicts.append(verdict)
            print(json.dumps({"line": number, **wire.verdict_to_wire(verdict)}), flush=True)
    for line in _summary(verdicts, malformed):
        print(line, file=sys.stderr)
    return WRONG_INPUT if malformed else 0


def option(argument: str) -> tuple[str, Any]:
    """`key=value`: the value is JSON where it can be, else text. Raises WrongOption."""
    key, equals, value = argument.partition("=")
    if not equals:
        raise registry.WrongOption(f"an option is given as key=value, not {argument!r}")
    try:
        return key, strict_json(value)
    except ValueError:
        return key, value


def _task(line: str) -> Task:
    """Raises ValueError for what is no task."""
    row = strict_json(line)
    if not isinstance(row, dict) or "response" not in row:
        raise ValueError("not a JSON object with a response")
    if unknown := sorted(set(row) - {field.name for field in fields(Task)}):
        raise ValueError(f"unknown fields: {', '.join(unknown)}")
    for key, kind in _KINDS.items():
        if key in row and not isinstance(row[key], kind):
            raise ValueError(f"{key} must be a {kind.__name__}")
    return wire.task_from_wire({"prompt": "", **row})


def _summary(verdicts: list[Verdict], malformed: int) -> Iterator[str]:
    judged = [verdict for verdict in verdicts if verdict.status is Status.SCORED]
    passed = sum(bool(verdict.passed) for verdict in judged)
    scores = [verdict.score for verdict in judged if verdict.score is not None]
    counts = f"{passed} passed, {len(judged) - passed} failed, {len(verdicts) - len(judged)} invalid"
    yield f"{len(verdicts)} judged: {counts}" + (f", mean score {mean(scores):.3f}" if scores else "")
    if malformed:
        yield f"{malformed} malformed lines were left out"
    for reason, count in Counter(verdict.reason for verdict in verdicts if verdict.status is Status.INVALID).most_common(3):
        yield f"invalid {count} times: {reason}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
