"""Records to tokens: chats by the model's template, texts as documents."""

from collections.abc import Iterator
from typing import Any, Literal

import pyarrow as pa
import xxhash
from transformers import PreTrainedTokenizerBase

from tower_rl.data import chat
from tower_rl.data.chat import Tokens, Unfit
from tower_rl.data.corpus.records import TOKENS

Row = dict[str, Any]


def tokenize(
    table: pa.Table,
    tokenizer: PreTrainedTokenizerBase,
    learn: Literal["all", "assistant"],
    *,
    sequence_length: int,
    held_out: float,
) -> pa.Table:
    """A table of RECORDS as one of TOKENS, in its order. What is lost has a reason `tokenize: ...`.

    Args:
        table: rows of the kinds text and chat; those dropped before stay so, whatever they are.
        tokenizer: a fast one, with a chat template.
        learn: "all" tokens (cpt), and longer rows are cut into ID#1, ID#2, ...; or only the "assistant"'s of chats, and all of
            texts (sft), and longer rows are dropped.
        sequence_length: tokens of the longest row.
        held_out: share of the rows that are kept for validation, by their content; equal contents are on the same side.

    Raises DataError for a tokenizer that cannot serve, and ValueError for a row of the kind pair, which is to be made an
    instruction before, and for a `sequence_length` below 2, with which nothing can be predicted.
    """
    if sequence_length < 2:
        raise ValueError(f"sequence_length must be at least 2, not {sequence_length}")
    rows = table.select(["id", "corpus", "language", "kind", "text", "messages", "dropped", "detail"]).to_pylist()
    for row, tokens in zip(rows, _made(rows, tokenizer, learn), strict=True):
        row |= {"held_out": False, "token_ids": [], "trained": []}
        if tokens is not None:
            row |= _outcome(row, tokens, learn, sequence_length, held_out)
    pieces = [piece for row in rows for piece in _pieces(row, sequence_length)]
    return pa.Table.from_pylist(pieces, schema=TOKENS)


def is_held_out(content: str, share: float) -> bool:
    """Whether a content belongs to the validation set, of which `share` of all contents are; the same on every machine."""
    return xxhash.xxh3_64_intdigest(content.encode()) < share * 2**64


def _made(rows: list[Row], tokenizer: PreTrainedTokenizerBase, learn: str) -> list[Tokens | Unfit | None]:
    """Tokens of each row that is in use."""
    places: dict[str, list[int]] = {"text": [], "chat": []}
    for place, row in enumerate(rows):
        if not row["dropped"]:
            if row["kind"] not in places:
                raise ValueError(f"row {row['id']} is of the kind {row['kind']!r}; only texts and chats can be tokenized")
            places[row["kind"]].append(place)
    chats = {"all": chat.transcripts, "assistant": chat.conversations}[learn]
    made: dict[int, Tokens | Unfit] = {}
    made.update(zip(places["text"], chat.documents(tokenizer, [rows[place]["text"] for place in places["text"]]), strict=True))
    made.update(zip(places["chat"], chats(tokenizer, [rows[place]["messages"] for place in places["chat"]]), strict=True))
    return [made.get(place) for place in range(len(rows))]


def _outcome(row: Row, tokens: Tokens | Unfit, learn: str, sequence_length: int, held_out: float) -> Row:
    """The columns of a row in use that its tokens decide."""
    if isinstance(tokens, Unfit):
        return _dropped(tokens.reason, tokens.detail)
    length = len(tokens.token_ids)
    if not any(tokens.trained):
        return _dropped("nothing to learn", f"none of its {length} tokens is to be learned")
    if learn == "assistant" and length > sequence_length:
        return _dropped("too long", f"{length} tokens, above {sequence_length}")
    return {
        "held_out": is_held_out(_content(row), held_out),
        "token_ids": tokens.token_ids,
        "trained": tokens.trained,
    }


def _dropped(reason: str, detail: str) -> Row:
    return {"dropped": f"tokenize: {reason}", "detail": detail}


def _content(row: Row) -> str:
    if row["kind"] == "text":
        return str(row["text"])
    return "\x1e".join(f"{message['role']}\x1f{message['content']}" for message in row["messages"])


def _pieces(row: Row, sequence_length: int) -> Iterator[Row]:
    """The row, or where it is too long its pieces.

    Each begins with the last token of the one before. A piece's first token is never learned, so that this way each of the
    document's tokens is learned once, but for the first.
    """
    ids, trained = row["token_ids"], row["trained"]
    if len(ids) <= sequence_length:
        yield row
        return
    for number, begin in enumerate(range(0, len(ids) - 1, sequence_length - 1), start=1):
        end = begin + sequence_length
        yield row | {"id": f"{row['id']}#{number}", "token_ids": ids[begin:end], "trained": (False, *trained[begin + 1 : end])}
