"""JSON lines: good rows, every kind of bad row, and the share of them that stops a run."""

import json
from pathlib import Path

import pytest

from tower_rl.config.schema import JsonlSource
from tower_rl.data import jsonl
from tower_rl.data.rows import DataError, Row

GOOD = {"prompt": "Say hello.", "verifier": "v"}


def write(path: Path, *lines: bytes | dict) -> JsonlSource:
    path.write_bytes(b"".join((line if isinstance(line, bytes) else json.dumps(line).encode()) + b"\n" for line in lines))
    return JsonlSource(kind="jsonl", path=str(path))


def test_rows_in_full_and_in_short(tmp_path: Path) -> None:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Grüße"}]
    meta = {"source_lang": "en", "target_lang": "de"}
    source = write(
        tmp_path / "a.jsonl",
        {"id": "one", "messages": messages, "verifier": "w", "reference": {"x": [1]}, "meta": meta},
        b"",
        GOOD,
    )
    rows, rejects = jsonl.read("mine", source)
    assert rejects == []
    assert rows[0] == Row("mine/one", tuple(messages), "w", {"x": [1]}, meta)
    assert rows[0].language_pair == "en-de"
    assert rows[1] == Row("mine/3", ({"role": "user", "content": "Say hello."},), "v", None, {})
    assert rows[1].language_pair is None


def test_the_source_names_the_verifier_of_rows_that_name_none(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", {"prompt": "x"}, GOOD).path
    rows, _ = jsonl.read("mine", JsonlSource(kind="jsonl", path=path, verifier="default"))
    assert [row.verifier for row in rows] == ["default", "v"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"prompt": ', "broken JSON"),
        (b"[" * 100_000, "broken JSON"),
        (b'["prompt"]', "no JSON object"),
        (b'{"prompt": "\xff", "verifier": "v"}', "invalid UTF-8"),
        (b'{"prompt": "\\ud800", "verifier": "v"}', "invalid UTF-8"),
        ({"verifier": "v"}, "missing field 'messages'"),
        ({"prompt": "x"}, "missing field 'verifier'"),
        ({**GOOD, "messages": []}, "both 'messages' and 'prompt'"),
        ({**GOOD, "prompt": 3}, "is no string"),
        ({**GOOD, "prompt": " \n"}, "is empty"),
        ({**GOOD, "verifier": 3}, "'verifier' is no string"),
        ({**GOOD, "meta": []}, "'meta' is no object"),
        ({**GOOD, "id": 7}, "'id' is no string"),
        ({**GOOD, "id": ""}, "'id' is no string, or empty"),
        ({**GOOD, "refrence": "x"}, "unknown field 'refrence'"),
        ({"verifier": "v", "messages": []}, "'messages' is no list, or empty"),
        ({"verifier": "v", "messages": "x"}, "'messages' is no list"),
        ({"verifier": "v", "messages": [{"role": "user"}]}, "exactly 'role' and 'content'"),
        ({"verifier": "v", "messages": [{"role": "human", "content": "x"}]}, "the role 'human'"),
        ({"verifier": "v", "messages": [{"role": "assistant", "content": "x"}]}, "the last message is not the user's"),
        ({**GOOD, "id": "first"}, "the id of 'mine/first' stands in the file twice"),
    ],
)
def test_a_bad_row_is_set_aside_with_line_and_reason(tmp_path: Path, line: bytes | dict, reason: str) -> None:
    source = write(tmp_path / "a.jsonl", {**GOOD, "id": "first"}, line, {**GOOD, "id": "third"})
    rows, rejects = jsonl.read("mine", source)
    assert [row.id for row in rows] == ["mine/first", "mine/third"]
    assert len(rejects) == 1
    assert rejects[0].place == f"{source.path}:2"
    assert reason in rejects[0].detail


def test_the_share_of_bad_rows_stops_with_the_first_ten(tmp_path: Path) -> None:
    source = write(tmp_path / "a.jsonl", *[GOOD] * 80, *[b"{"] * 20)
    rows, rejects = jsonl.read("mine", source)
    with pytest.raises(DataError, match=r"'mine': 20 of 100 rows are bad, more than max_rejects = 0\.01") as error:
        jsonl.check_rejects("mine", source, len(rows), rejects)
    assert str(error.value).count("\n") == 10
    assert "a.jsonl:81: broken JSON" in str(error.value)
    jsonl.check_rejects("mine", source.model_copy(update={"max_rejects": 0.2}), len(rows), rejects)


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"source 'mine': .*nothing\.jsonl cannot be read: No such file"):
        jsonl.read("mine", JsonlSource(kind="jsonl", path=str(tmp_path / "nothing.jsonl")))
