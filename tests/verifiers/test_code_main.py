"""pass@k from the command line, as a user runs it."""

import gzip
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.jail


def row(number: int) -> dict[str, Any]:
    prompt = f'def plus(x):\n    """{number} more than x."""\n'
    test = f"def check(candidate):\n    assert candidate(1) == {number + 1}\n    assert candidate(-3) == {number - 3}\n"
    return {"task_id": f"Own/{number}", "prompt": prompt, "entry_point": "plus", "test": test, "canonical_solution": ""}


@pytest.fixture
def problems(tmp_path: Path) -> Path:
    path = tmp_path / "problems.jsonl.gz"
    with gzip.open(path, "wt") as file:
        file.writelines(json.dumps(row(number)) + "\n" for number in (5, 6))
    return path


def run(problems: Path, samples: list[Any], *more: str) -> subprocess.CompletedProcess[str]:
    path = problems.with_name("samples.jsonl")
    path.write_text("".join(f"{sample if isinstance(sample, str) else json.dumps(sample)}\n" for sample in samples))
    command = [sys.executable, "-m", "verifiers.code", "humaneval", str(problems), str(path), *more]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)


@pytest.mark.parametrize("sandbox", ["jail", "preforked"])
def test_pass_at_k(problems: Path, sandbox: str) -> None:
    wrong = {"task_id": "Own/5", "completion": "    return x\n"}
    samples = [
        {"task_id": "Own/5", "solution": "def plus(x):\n    return x + 5\n"},
        wrong,
        wrong,
        wrong,
        {"task_id": "Own/6", "response": "I add:\n```python\ndef plus(x):\n    return 6 + x\n```"},
    ]
    done = run(problems, samples, "--k", "1,2", f"sandbox={sandbox}")
    assert done.returncode == 0, done.stderr
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(verdict["task_id"], verdict["score"]) for verdict in verdicts] == [
        ("Own/5", 1), ("Own/5", 0), ("Own/5", 0), ("Own/5", 0), ("Own/6", 1),
    ]  # fmt: skip
    assert done.stderr.splitlines() == [
        "5 samples of 2 problems (2 in the file), 0 of them invalid",
        "pass@1: 0.6250 over 2 problems",  # (1/4 + 1) / 2
        "pass@2: 0.5000 over 1 problems; 1 problems with fewer than 2 valid samples are left out",  # 1 - C(3,2) / C(4,2)
    ]


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        ("no json", "samples.jsonl:1: "),
        ({"task_id": "Own/7", "solution": ""}, "no object with the task_id of a problem, such as 'Own/5'"),
        ([1], "no object with the task_id"),
        ({"task_id": "Own/5"}, "needs exactly one text named response, completion or solution"),
        ({"task_id": "Own/5", "solution": 1}, "needs exactly one text"),
        ({"task_id": "Own/5", "solution": "", "response": ""}, "needs exactly one text"),
    ],
)
def test_malformed_samples(problems: Path, sample: Any, told: str) -> None:
    done = run(problems, [sample])
    assert done.returncode == 2 and told in done.stderr, done.stderr


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["sandbox=none"], "'jail', 'preforked' or 'unsafe_no_jail'"),
        (["--k", "0"], "--k"),
        (["secnods=1"], "secnods"),
    ],
)
def test_wrong_options(problems: Path, more: list[str], told: str) -> None:
    done = run(problems, [], *more)
    assert done.returncode == 2 and told in done.stderr, done.stderr


def test_a_missing_file_is_named_with_its_origin(tmp_path: Path) -> None:
    done = run(tmp_path / "HumanEval.jsonl.gz", [])
    assert done.returncode == 2
    assert "HumanEval.jsonl.gz" in done.stderr and "https://github.com/openai/human-eval" in done.stderr
