"""The command line, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def run(*arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "verifiers", *arguments]
    return subprocess.run(command, cwd=ROOT, input=given, capture_output=True, text=True, timeout=120)


def test_list_has_a_line_for_each() -> None:
    done = run()
    assert done.returncode == 0
    assert {"chrf", "constraints", "math", "translation_rules"} <= {line.split()[0] for line in done.stdout.splitlines()}
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines())


def test_verdicts_come_in_order_and_malformed_lines_are_reported() -> None:
    rule = {"rules": [{"rule": "max_words", "words": 5}]}
    rows = [json.dumps({"response": "word " * count, "meta": rule}) for count in (1, 10, 3)]
    given = "\n".join([rows[0], "not json", rows[1], "", '{"respnse": 1}', '{"response": 5}', rows[2]])
    done = run("constraints", "-", given=given)
    verdicts = [json.loads(line) for line in done.stdout.splitlines()]
    assert [verdict["line"] for verdict in verdicts] == [1, 3, 7]
    assert [verdict["score"] for verdict in verdicts] == [1.0, 0.5, 1.0]
    assert done.returncode == 2
    assert [line.split(":")[0] for line in done.stderr.splitlines()[:3]] == ["line 2", "line 5", "line 6"]
    assert "3 judged: 2 passed, 1 failed, 0 invalid" in done.stderr


def test_a_group_aware_verifier_judges_a_file_by_prompt() -> None:
    rows = [{"prompt": p, "response": r, "reference": "The river is wide."} for p in "ab" for r in ("The river is wide.", "")]
    done = run("similarity", "-", given="\n".join(map(json.dumps, rows)))
    assert [json.loads(line)["score"] for line in done.stdout.splitlines()] == [1.0, 0.0] * 2


def test_file_with_options(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    row = {"response": "Das Ergebnis: 3,5", "reference": "3.5"}
    path.write_text(json.dumps(row) + "\n" + json.dumps({**row, "reference": None}) + "\n")
    done = run("math", str(path), "language=de", "last_number=true")
    right, broken = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, right["score"], right["verifier"]) == (0, 1.0, "math")
    assert (broken["score"], broken["passed"], broken["status"]) == (None, None, "invalid")
    assert "1 invalid" in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("maths", "-"), "known: bleu, chrf, code, constraints"),
        (("math", "-", "langage=de"), "its options: language"),
        (("math", "-", "language"), "key=value"),
        (("math", "/no/such/file"), "No such file"),
        (("math",), "python -m verifiers NAME FILE.jsonl"),
    ],
)
def test_wrong_calls_exit_with_2(arguments: tuple[str, ...], said: str) -> None:
    done = run(*arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr
