"""What the command prints: marks, colours, control characters, dropped rows, refusals."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from chat_families import family
from rich.console import Console

from tower_rl.data.chat import conversation, document
from tower_rl.data.corpus.records import TOKENS
from tower_rl.data.show import Sample, Segment, main, marked, segments, show

TOKENIZER = family("qwen3")
CHAT = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes"}]


def table(*rows: dict[str, Any]) -> pa.Table:
    tokens = conversation(TOKENIZER, CHAT)
    plain = {"corpus": "c", "language": "de", "held_out": False, "dropped": "", "detail": ""}
    plain |= {"token_ids": tokens.token_ids, "trained": tokens.trained}
    return pa.Table.from_pylist([plain | row for row in rows], schema=TOKENS)


def printed(*tables: pa.Table, rows: int = 3, **options: Any) -> str:
    file = io.StringIO()
    show(TOKENIZER, Sample("sft", "c", tables), rows, Console(file=file, highlight=False, width=20, **options))
    return file.getvalue()


def test_in_a_pipe_learned_spans_are_marked() -> None:
    assert printed(table({"id": "c/1"}, {"id": "c/2", "held_out": True, "language": ""})) == (
        "sft / c\n"
        "c/1  de  24 tokens, 10 learned (42%)\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\nYes<|im_end|>⟧\n\n\n"
        "c/2  24 tokens, 10 learned (42%)  held out\n"
        "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n⟦<think>\n\n</think>\n\nYes<|im_end|>⟧\n\n\n"
        "2 rows shown\n\n"
    )


def test_on_a_terminal_they_are_coloured() -> None:
    text = printed(table({"id": "c/1"}), force_terminal=True, color_system="standard")
    assert "⟦" not in text
    dim, learned, dim_control, control = "\x1b[2m", "\x1b[1;32m", "\x1b[2;35m", "\x1b[1;35m"
    assert f"{dim_control}<|im_start|>\x1b[0m{dim}user" in text
    assert f"{learned}Yes\x1b[0m{control}<|im_end|>\x1b[0m" in text


def test_no_color_is_respected(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    text = printed(table({"id": "c/1"}), force_terminal=True, color_system="standard")
    assert "Yes<|im_end|>⟧" in text


def test_dropped_rows_are_counted_and_no_more_is_read_than_shown() -> None:
    def tables() -> Iterator[pa.Table]:
        yield table({"id": "1", "dropped": "clean: too short"}, {"id": "2"}, {"id": "3", "dropped": "clean: too short"})
        yield table({"id": "4", "dropped": "tokenize: too long"}, {"id": "5"})
        raise AssertionError("more was read than is shown")

    file = io.StringIO()
    show(TOKENIZER, Sample("sft", "c", tables()), 2, Console(file=file))
    lines = file.getvalue().splitlines()
    assert [line[0] for line in lines if "tokens," in line] == ["2", "5"]
    assert "2 rows shown; dropped before the last of them: 2 clean: too short, 1 tokenize: too long" in lines


def test_a_terminal_is_given_no_commands() -> None:
    tokens = document(TOKENIZER, "a\x1b[2Jb\x9bc\td")
    assert marked(segments(TOKENIZER, tokens.token_ids, tokens.trained)) == "a⟦␛[2Jb\ufffdc\td<|im_end|>⟧"


@pytest.mark.parametrize("name", ["qwen3", "gemma2"])
def test_segments_add_up_to_the_text(name: str) -> None:
    tokenizer = family(name)
    text = "  这😀 x <y>"
    encoded = tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
    ids, begins = encoded["input_ids"], [begin for begin, _ in encoded["offset_mapping"]]
    for cut in range(1, len(ids)):  # also inside a character, which then stands in the second segment
        parts = segments(tokenizer, ids, [place >= cut for place in range(len(ids))])
        assert parts == [Segment(text[: begins[cut]], False, False), Segment(text[begins[cut] :], True, False)]
    assert segments(tokenizer, [], []) == []


def test_a_learned_replacement_character_is_shown_as_learned() -> None:
    tokens = conversation(TOKENIZER, [CHAT[0], {"role": "assistant", "content": "a\ufffd"}])
    parts = segments(TOKENIZER, tokens.token_ids, tokens.trained)
    assert [part.text for part in parts if part.trained] == ["<think>\n\n</think>\n\na\ufffd", "<|im_end|>"]


def test_control_tokens_are_segments_of_their_own() -> None:
    ids = TOKENIZER("<|im_start|>user<|im_end|>", add_special_tokens=False)["input_ids"]
    parts = segments(TOKENIZER, ids, [False] * len(ids))
    assert parts == [Segment("<|im_start|>", False, True), Segment("user", False, False), Segment("<|im_end|>", False, True)]


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Path:
    (tmp_path / "a.jsonl").write_text("".join(json.dumps({"id": name, "prompt": f"Say {name}."}) + "\n" for name in "xyz"))
    (tmp_path / "b.jsonl").write_text(json.dumps({"prompt": "Another."}) + "\n")
    (tmp_path / "config.yaml").write_text(
        f"""\
run: {{name: shown, dir: {tmp_path}/run}}
model: {{path: {tiny_model}}}
data:
  sources:
    a: {{kind: jsonl, path: {tmp_path}/a.jsonl, verifier: v}}
    b: {{kind: jsonl, path: {tmp_path}/b.jsonl, verifier: v}}
verifiers: {{v: {{use: chrf}}}}
stages: [{{name: rl, kind: rlvr, steps: 1}}]
"""
    )
    return tmp_path / "config.yaml"


def test_prompts_of_a_configuration(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config), "--rows", "2"]) == 0
    out = capsys.readouterr().out
    assert out.count("rl / ") == 2
    assert out.count("0 learned (0%)") == 3
    assert "<|im_start|>user\nAnother.<|im_end|>\n<|im_start|>assistant\n" in out
    assert "⟦" not in out


def test_one_source_and_an_override(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(config), "--corpus", "b", "data.system_prompt=Be kind."]) == 0
    out = capsys.readouterr().out
    assert "rl / a" not in out
    assert "system\nBe kind.<|im_end|>" in out


@pytest.mark.parametrize(
    "arguments, problem",
    [
        (["--corpus", "c"], "no corpus or source 'c'; the configuration has a, b"),
        (["stages.0.steps=0"], "stages.0.steps"),
        (["model.path=/nowhere"], "/nowhere"),
        (["data.max_prompt_tokens=1"], "has no usable row"),
    ],
)
def test_what_cannot_be_shown_is_refused(
    config: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], problem: str
) -> None:
    assert main([str(config), *arguments]) == 2
    assert problem in capsys.readouterr().err


@pytest.mark.parametrize("rows", ["0", "-1", "many"])
def test_the_number_of_rows_is_a_number(config: Path, rows: str) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([str(config), f"--rows={rows}"])
    assert stopped.value.code == 2
