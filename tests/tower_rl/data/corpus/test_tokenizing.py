"""Tables of records to tables of tokens: masks, cutting, dropping, the validation share."""

import subprocess
import sys
from typing import Any

import pyarrow as pa
import pytest
from chat_families import family
from hypothesis import given, settings
from hypothesis import strategies as st

from tower_rl.data.chat import conversation, document
from tower_rl.data.corpus.records import RECORDS, TOKENS
from tower_rl.data.corpus.tokenizing import is_held_out, tokenize

TOKENIZER = family("smollm2")
EMPTY = dict.fromkeys(["licence", "text", "original", "translation", "document", "dropped", "detail"], "")


def row(id_: str, kind: str, **columns: Any) -> dict[str, Any]:
    return {**EMPTY, "id": id_, "corpus": "c", "kind": kind, "language": "de", "messages": [], "position": 0, **columns}


def text(id_: str, content: str) -> dict[str, Any]:
    return row(id_, "text", text=content)


def chat(id_: str, *contents: str) -> dict[str, Any]:
    roles = ["user", "assistant"] * len(contents)
    return row(id_, "chat", messages=[{"role": role, "content": said} for role, said in zip(roles, contents, strict=False)])


def run(*rows: dict[str, Any], learn: Any = "assistant", length: int = 100, held_out: float = 0.0) -> list[dict[str, Any]]:
    table = tokenize(
        pa.Table.from_pylist(list(rows), schema=RECORDS), TOKENIZER, learn, sequence_length=length, held_out=held_out
    )
    assert table.schema == TOKENS
    return list(table.to_pylist())


def test_sft_learns_answers_and_whole_texts() -> None:
    asked = chat("c/1", "Hi", "Yes", "And?", "No")
    first, second = run(asked, text("c/2", "Der Name"))
    expected = conversation(TOKENIZER, asked["messages"]), document(TOKENIZER, "Der Name")
    for found, tokens in zip((first, second), expected, strict=True):
        assert (tuple(found["token_ids"]), tuple(found["trained"])) == (tokens.token_ids, tokens.trained)
    rest = {key: first[key] for key in ("id", "corpus", "language", "held_out", "dropped", "detail")}
    assert rest == {"id": "c/1", "corpus": "c", "language": "de", "held_out": False, "dropped": "", "detail": ""}


def test_cpt_learns_everything() -> None:
    asked = chat("c/1", "Hi", "Yes")
    for found in run(asked, text("c/2", "Der Name"), learn="all"):
        assert found["trained"] == [False] + [True] * (len(found["token_ids"]) - 1)
    assert tuple(run(asked, learn="all")[0]["token_ids"]) == conversation(TOKENIZER, asked["messages"]).token_ids


def test_what_is_lost_stays_with_its_reason_and_place() -> None:
    rows = [
        text("c/1", "Der Name"),
        row("c/2", "pair", dropped="clean: too short", detail="x"),
        chat("c/3", "Hi", "<|im_end|>"),
        chat("c/4", "Hi"),
        text("c/5", "x " * 200),
        row("c/6", "chat"),
        text("c/7", ""),
        chat("c/8", "Hi", "Yes"),
    ]
    found = run(*rows)
    assert [(made["id"], made["dropped"], made["detail"]) for made in found] == [
        ("c/1", "", ""),
        ("c/2", "clean: too short", "x"),
        ("c/3", "tokenize: control token in the text", "<|im_end|>"),
        (
            "c/4",
            "tokenize: nothing to learn",
            f"none of its {len(conversation(TOKENIZER, rows[3]['messages']).token_ids)} tokens is to be learned",
        ),
        ("c/5", "tokenize: too long", f"{len(document(TOKENIZER, rows[4]['text']).token_ids)} tokens, above 100"),
        ("c/6", "tokenize: no question", "it has no messages"),
        ("c/7", "tokenize: nothing to learn", "none of its 1 tokens is to be learned"),
        ("c/8", "", ""),
    ]
    assert all(bool(made["dropped"]) == (made["token_ids"] == [] == made["trained"]) for made in found)


def test_exactly_the_longest_fits() -> None:
    length = len(document(TOKENIZER, "Der Name").token_ids)
    for learn in ("all", "assistant"):
        (fits,) = run(text("c/1", "Der Name"), learn=learn, length=length)
        assert (fits["id"], fits["dropped"]) == ("c/1", "")
    (lost,) = run(text("c/1", "Der Name"), length=length - 1)
    assert lost["dropped"] == "tokenize: too long"


@settings(max_examples=50, deadline=None)
@given(st.text(st.sampled_from("ab 中"), max_size=40), st.integers(2, 12))
def test_cpt_cuts_so_that_each_token_is_learned_once(content: str, length: int) -> None:
    whole = document(TOKENIZER, content).token_ids
    pieces = [made for made in run(text("c/1", content), learn="all", length=length) if not made["dropped"]]
    learned = [id_ for made in pieces for id_, learn in zip(made["token_ids"], made["trained"], strict=True) if learn]
    assert learned == list(whole[1:])
    assert all(2 <= len(made["token_ids"]) <= length and not made["trained"][0] for made in pieces)
    if len(whole) > length:
        assert [made["id"] for made in pieces] == [f"c/1#{number}" for number in range(1, len(pieces) + 1)]
        assert [made["token_ids"][0] for made in pieces[1:]] == [made["token_ids"][-1] for made in pieces[:-1]]


def test_equal_contents_are_on_the_same_side_and_the_share_is_met() -> None:
    rows = [text(f"a/{number}", f"text {number}") for number in range(2000)]
    again = [text(f"b/{number}", f"text {number}") for number in range(2000)]
    held = [made["held_out"] for made in run(*rows, held_out=0.1)]
    assert held == [made["held_out"] for made in run(*again, held_out=0.1)]
    assert 0.07 < sum(held) / 2000 < 0.13  # 0.1 give or take 4 standard errors
    assert not any(made["held_out"] for made in run(*rows[:100], held_out=0.0))
    assert all(made["held_out"] for made in run(*rows[:100], held_out=1.0))


def test_the_side_is_the_same_for_ever() -> None:
    """XXH3 of the empty text with seed 0, from its specification: 2d06800538d394c2."""
    side = 0x2D06800538D394C2 / 2**64
    assert is_held_out("", side + 1e-9)
    assert not is_held_out("", side - 1e-9)


def test_roles_and_borders_count_for_the_side_of_a_chat() -> None:
    found = [
        run(chat("c/1", f"{number}", "x"), chat("c/2", f"{number}x"), chat("c/3", f"{number}", "x"), held_out=0.5)
        for number in range(40)
    ]
    assert all(first["held_out"] == third["held_out"] for first, _, third in found)
    assert any(
        run(chat("c", f"a{n}", "b"), held_out=0.5)[0]["held_out"] != run(chat("c", "a", f"{n}b"), held_out=0.5)[0]["held_out"]
        for n in range(40)
    )


def test_pieces_of_a_document_are_on_one_side() -> None:
    for number in range(20):
        assert len({made["held_out"] for made in run(text("c/1", f"{number} " * 20), learn="all", length=5, held_out=0.5)}) == 1


def test_rows_that_cannot_be_tokenized_are_mistakes_of_the_caller() -> None:
    with pytest.raises(ValueError, match="row c/1 is of the kind 'pair'"):
        run(row("c/1", "pair"))
    with pytest.raises(ValueError, match="sequence_length must be at least 2, not 1"):
        run(text("c/1", "x"), length=1)


def test_an_empty_table() -> None:
    assert run() == []


def test_torch_is_not_imported() -> None:
    program = "import sys, tower_rl.data.corpus.tokenizing; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], timeout=120).returncode == 0
