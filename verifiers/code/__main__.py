"""pass@k of samples: `python -m verifiers.code DATASET PROBLEMS SAMPLES.jsonl [--k 1,10] [option=value ...]`.

DATASET is humaneval, mbpp, humaneval+ or mbpp+, PROBLEMS its file, options those of the verifier `code`. A line of SAMPLES has
`task_id` and one of `response` (what a model answered), `completion` (what follows the prompt) or `solution` (a whole program).
One JSON verdict a sample goes to standard output, pass@k to standard error. Invalid verdicts count as no sample, and a problem
with fewer than k samples is left out of pass@k, which is said. Exit code 2: unreadable files, malformed lines, wrong options.
"""

import argparse
import json
import os
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path

from verifiers import registry, wire
from verifiers.__main__ import option
from verifiers.code import datasets
from verifiers.code.datasets import Row
from verifiers.code.passk import mean_pass_at_k
from verifiers.pipes import quiet_pipes
from verifiers.pool import Pool, Spec
from verifiers.text import strict_json
from verifiers.types import Task, Verdict

WRONG_INPUT = 2
LOADERS = {
    "humaneval": datasets.humaneval,
    "mbpp": datasets.mbpp,
    "humaneval+": datasets.humaneval_plus,
    "mbpp+": datasets.mbpp_plus,
}
_FENCE = "~" * 20
"""No program has it at the beginning of a line."""
_TIMEOUT_S, _MEMORY_MIB, _BATCH = 60.0, 4096, 64


class WrongInput(ValueError):
    """What is wrong with the samples, and where."""


@quiet_pipes()
def main(arguments: Sequence[str]) -> int:
    """Returns the exit code."""
    asked = _parser().parse_intermixed_args(arguments)
    try:
        options = dict(map(option, asked.options))
        registry.check_options("code", options)
        rows = {row[0]: row for row in LOADERS[asked.dataset](asked.problems)}
        samples = list(read_samples(asked.samples, rows))
    except (registry.WrongOption, OSError, ValueError) as error:
        print(error, file=sys.stderr)
        return WRONG_INPUT
    judged: dict[str, list[Verdict]] = defaultdict(list)
    with Pool({"code": Spec("verifiers.code:Code", options, timeout_s=_TIMEOUT_S)}, os.cpu_count() or 1, _MEMORY_MIB) as pool:
        for start in range(0, len(samples), _BATCH):
            batch = samples[start : start + _BATCH]
            for (name, _), verdict in zip(batch, pool.verify("code", [task for _, task in batch]), strict=True):
                judged[name].append(verdict)
                print(json.dumps({"task_id": name, **wire.verdict_to_wire(verdict)}), flush=True)
    for line in summary(rows, judged, asked.k):
        print(line, file=sys.stderr)
    return 0


def read_samples(path: Path, rows: Mapping[str, Row]) -> Iterator[tuple[str, Task]]:
    """Task id and task of each sample. Raises WrongInput with the line, OSError."""
    for number, sample in enumerate(datasets.lines(path), 1):
        place = f"{path}:{number}"
        try:
            fields = strict_json(sample)
        except ValueError as error:
            raise WrongInput(f"{place}: {error}") from error
        if not isinstance(fields, dict) or fields.get("task_id") not in rows:
            raise WrongInput(f"{place}: no object with the task_id of a problem, such as {next(iter(rows))!r}")
        texts = {key: fields[key] for key in ("response", "completion", "solution") if key in fields}
        if len(texts) != 1 or not isinstance(next(iter(texts.values())), str):
            raise WrongInput(f"{place}: needs exactly one text named response, completion or solution")
        ((kind, text),) = texts.items()
        name, prompt, meta = rows[fields["task_id"]]
        response = f"{_FENCE}python\n{text}\n{_FENCE}" if kind == "solution" else text
        yield name, Task(prompt, response, meta=meta)


def summary(rows: Mapping[str, Row], judged: Mapping[str, Sequence[Verdict]], ks: Iterable[int]) -> Iterator[str]:
    """Lines of text: how many were judged, and pass@k; for HumanEval+ and MBPP+ also by the base tests alone."""
    verdicts = [verdict for each in judged.values() for verdict in each]
    invalid = sum(verdict.score is None for verdict in verdicts)
    yield f"{len(verdicts)} samples of {len(judged)} problems ({len(rows)} in the file), {invalid} of them invalid"
    suites = {"": ""} | ({"base/": " by the base tests"} if any("base/0" in verdict.parts for verdict in verdicts) else {})
    for k in ks:
        for prefix, about in suites.items():
            counts = [count for each in judged.values() if (count := _count(each, prefix))[0] >= k]
            left_out = len(rows) - len(counts)
            told = f"; {left_out} problems with fewer than {k} valid samples are left out" if left_out else ""
            value = f"{mean_pass_at_k(counts, k):.4f}" if counts else "unknown"
            yield f"pass@{k}{about}: {value} over {len(counts)} problems{told}"


def _count(verdicts: Sequence[Verdict], prefix: str) -> tuple[int, int]:
    """How many are valid, and of how many each part with the prefix is right."""
    valid = [verdict for verdict in verdicts if verdict.score is not None]
    passed = [all(score == 1 for name, score in verdict.parts.items() if name.startswith(prefix)) for verdict in valid]
    return len(valid), sum(bool(verdict.parts) and right for verdict, right in zip(valid, passed, strict=True))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m verifiers.code", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("dataset", choices=sorted(LOADERS))
    parser.add_argument("problems", type=Path)
    parser.add_argument("samples", type=Path)
    parser.add_argument("options", nargs="*", metavar="option=value")
    parser.add_argument("--k", type=_numbers, default=[1], help="e.g. 1,10")
    return parser


def _numbers(text: str) -> list[int]:
    """Raises ValueError."""
    numbers = [int(word) for word in text.split(",")]
    if min(numbers) < 1:
        raise ValueError(text)
    return numbers


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
