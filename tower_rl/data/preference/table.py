"""Pairs and the answers that they are chosen from as parquet, with who made each answer and what every scorer said.

A row is a pair, or a prompt with its answers; both are readable without training.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tower_rl.data.corpus.records import MESSAGES
from tower_rl.data.preference.types import Candidate, Candidates, Pair
from tower_rl.data.rows import DataError
from tower_rl.files import replacing
from tower_rl.types import Prompt, StopReason

ANSWER = pa.struct(
    [
        ("text", pa.string()),
        ("token_ids", pa.list_(pa.int32())),  # with the end-of-turn token
        ("origin", pa.string()),  # policy@VERSION, or as the data say
        ("score", pa.float64()),  # the one that counts; null where there is none
        ("scores", pa.list_(pa.struct([("scorer", pa.string()), ("value", pa.float64())]))),
        ("reason", pa.string()),
        ("stop_reason", pa.string()),  # stop, or length where the token limit cut it
    ]
)

_PROMPT = [
    ("id", pa.string()),
    ("source", pa.string()),
    ("language_pair", pa.string()),  # null for tasks that translate nothing
    ("messages", MESSAGES),
    ("prompt_token_ids", pa.list_(pa.int32())),
    ("verifier", pa.string()),
    ("reference", pa.string()),  # JSON
    ("meta", pa.string()),  # JSON
    ("cursor", pa.int64()),
]
CANDIDATES = pa.schema([*_PROMPT, ("answers", pa.list_(ANSWER))])
PAIRS = pa.schema(
    [
        *_PROMPT,
        ("round", pa.int64()),  # of sampling and training, from 0
        ("chosen", ANSWER),
        ("rejected", ANSWER),
    ]
)

_AT_ONCE = 1000


def write_pairs(path: Path, pairs: Iterable[Pair], round_: int) -> None:
    """Writes the file whole or not at all. Lone surrogates in answers, which no UTF-8 file can hold, become `?`."""
    _write(path, PAIRS, (_row(pair, round_) for pair in pairs))


def read_pairs(path: Path) -> Iterator[Pair]:
    """The pairs of such a file in its order, a thousand at a time.

    Raises DataError for a file that cannot be read or has other columns.
    """
    return map(_pair, _read(path, PAIRS, "pairs"))


def write_candidates(path: Path, candidates: Iterable[Candidates]) -> None:
    """Writes the file whole or not at all."""
    rows = (_prompt_row(each.prompt) | {"answers": [_answer(one) for one in each.candidates]} for each in candidates)
    _write(path, CANDIDATES, rows)


def read_candidates(path: Path) -> Iterator[Candidates]:
    """Prompts and their answers, as `read_pairs`."""
    for row in _read(path, CANDIDATES, "answers"):
        yield Candidates(_prompt(row), tuple(_candidate(answer) for answer in row["answers"]))


def _write(path: Path, schema: pa.Schema, rows: Iterable[dict[str, Any]]) -> None:
    remaining = iter(rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary, pq.ParquetWriter(temporary, schema, compression="zstd") as writer:
        while some := list(islice(remaining, _AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(some, schema=schema))


def _read(path: Path, schema: pa.Schema, what: str) -> Iterator[dict[str, Any]]:
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_AT_ONCE, columns=schema.names):
                yield from pa.Table.from_batches([batch]).select(schema.names).cast(schema).to_pylist()
    except (OSError, pa.ArrowException, KeyError) as error:
        raise DataError(f"{path} holds no {what} that can be read: {error}") from error


def _row(pair: Pair, round_: int) -> dict[str, Any]:
    return _prompt_row(pair.prompt) | {"round": round_, "chosen": _answer(pair.chosen), "rejected": _answer(pair.rejected)}


def _pair(row: Mapping[str, Any]) -> Pair:
    return Pair(_prompt(row), _candidate(row["chosen"]), _candidate(row["rejected"]))


def _prompt_row(prompt: Prompt) -> dict[str, Any]:
    return {
        "id": prompt.id,
        "source": prompt.source,
        "language_pair": prompt.language_pair,
        "messages": prompt.messages,
        "prompt_token_ids": prompt.token_ids,
        "verifier": prompt.verifier,
        "reference": json.dumps(prompt.reference),
        "meta": json.dumps(dict(prompt.meta)),
        "cursor": prompt.cursor,
    }


def _answer(candidate: Candidate) -> dict[str, Any]:
    return {
        "text": _storable(candidate.text),
        "token_ids": candidate.token_ids,
        "origin": candidate.origin,
        "score": candidate.score,
        "scores": [{"scorer": name, "value": value} for name, value in candidate.scores.items()],
        "reason": _storable(candidate.reason),
        "stop_reason": candidate.stop_reason.value,
    }


def _prompt(row: Mapping[str, Any]) -> Prompt:
    return Prompt(
        id=row["id"],
        messages=tuple(row["messages"]),
        token_ids=tuple(row["prompt_token_ids"]),
        verifier=row["verifier"],
        reference=json.loads(row["reference"]),
        meta=json.loads(row["meta"]),
        source=row["source"],
        cursor=row["cursor"],
        language_pair=row["language_pair"],
    )


def _candidate(answer: Mapping[str, Any]) -> Candidate:
    return Candidate(
        text=answer["text"],
        token_ids=tuple(answer["token_ids"]),
        origin=answer["origin"],
        scores={each["scorer"]: each["value"] for each in answer["scores"]},
        score=answer["score"],
        reason=answer["reason"],
        stop_reason=StopReason(answer["stop_reason"]),
    )


def _storable(text: str) -> str:
    return text.encode("utf-8", errors="replace").decode("utf-8")
