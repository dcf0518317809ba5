"""Pairs to chats, and chats to plain texts."""

import random
from collections import Counter
from functools import cache
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from tower_rl.config.corpora import ParallelTasks
from tower_rl.data.corpus.instructions.choice import chooser
from tower_rl.data.corpus.instructions.glossary import NO_TERMS, Glossary, Terms, occurring
from tower_rl.data.corpus.instructions.pair import Pair, language_name
from tower_rl.data.corpus.instructions.tables import active_pairs, reassembled, replaced
from tower_rl.data.corpus.instructions.tasks import TASKS, WITH_TERMS, translate
from tower_rl.data.corpus.records import RECORDS
from tower_rl.data.rows import DataError


def to_instructions(table: pa.Table, tasks: ParallelTasks, seed: int, glossary: Glossary) -> pa.Table:
    """Chats of a table's pairs (RECORDS to RECORDS, row by row); all other rows stay as they are.

    A chat's id is the pair's with `#TASK`; its language is the pair in the direction that is learned. Direction, task
    and wording depend on the row's id and the seed alone. A pair that cannot carry its task is one of `translate`, as its id
    says. A pair of languages without names is dropped.

    Args:
        glossary: terms for `terminology` and for some errors (`build_glossary` of the whole corpus); empty without.

    Raises DataError for a task that is none.
    """
    check_tasks(tasks)
    mask = active_pairs(table)
    pairs = table.filter(mask)
    rows = [_chat(row, tasks, seed, glossary) for row in pairs.to_pylist()]
    return reassembled(table, mask, pa.Table.from_pylist(rows, RECORDS))


def check_tasks(tasks: ParallelTasks) -> None:
    """Raises DataError for a task that is none, or no task."""
    unknown = sorted(set(tasks.tasks) - set(TASKS))
    if unknown or not tasks.tasks:
        raise DataError(f"tasks: {unknown[0]!r} is none of {', '.join(TASKS)}" if unknown else "tasks: none is asked for")


def as_text(table: pa.Table) -> pa.Table:
    """Chats in use as plain texts (RECORDS to RECORDS), for continued pretraining: every turn is learned.

    An empty line stands between turns, or nothing where the first ends in a space or on a new line (`German: `).
    """
    mask = pc.and_(pc.equal(table["kind"], "chat"), pc.equal(table["dropped"], ""))
    chats = table.filter(mask)
    texts = [_joined([message["content"] for message in messages]) for messages in chats["messages"].to_pylist()]
    return reassembled(
        table, mask, replaced(chats, {"kind": ["text"] * len(texts), "text": texts, "messages": [[] for _ in texts]})
    )


def task_counts(table: pa.Table) -> Counter[str]:
    """How many rows in use each task has, by the ids; counts of batches may be added."""
    ids = table.filter(pc.equal(table["dropped"], ""))["id"].to_pylist()
    return Counter(task for task in (id_.rpartition("#")[2] for id_ in ids if "#" in id_) if task in TASKS)


def realised_shares(table: pa.Table) -> dict[str, float]:
    """Share of each task in the rows that have one, to be held against the asked ones; empty without such rows."""
    counts = task_counts(table)
    return {task: count / counts.total() for task, count in sorted(counts.items())}


def _chat(row: dict[str, Any], tasks: ParallelTasks, seed: int, glossary: Glossary) -> dict[str, Any]:
    """A row of kind pair as one of kind chat; dropped where its languages have no names."""
    problem = _problem(row["language"])
    if problem:
        return row | {"dropped": f"instructions: {problem}", "detail": row["language"]}
    choice = chooser(seed, "instruction", row["id"])
    forward = _is_forward(tasks.directions, choice)
    task = choice.choices(list(tasks.tasks), list(tasks.tasks.values()))[0]
    terms = glossary.get((row["corpus"], row["language"]), NO_TERMS) if task in WITH_TERMS else NO_TERMS
    pair = _pair(row, forward, terms, choice)
    example = TASKS[task](pair, choice) or translate(pair, choice)
    return row | {
        "id": f"{row['id']}#{example.task}",
        "kind": "chat",
        "language": f"{pair.source_lang}-{pair.target_lang}",
        "original": "",
        "translation": "",
        "messages": [{"role": "user", "content": example.user}, {"role": "assistant", "content": example.assistant}],
    }


@cache
def _problem(language: str) -> str:
    """Why a pair of languages cannot be named in an instruction, or ""."""
    source, _, target = language.partition("-")
    names = language_name(source), language_name(target)
    if None in names:
        return "unknown language"
    return "one language" if names[0] == names[1] else ""


def _is_forward(directions: str, choice: random.Random) -> bool:
    drawn = choice.random() < 0.5  # always drawn, so that all later choices are the same for every setting
    return drawn if directions == "both" else directions == "forward"


def _pair(row: dict[str, Any], forward: bool, terms: Terms, choice: random.Random) -> Pair:
    """The pair in the direction that is learned, with its terms; the space around a text is no part of a task."""
    first, _, second = row["language"].partition("-")
    original, translation = row["original"].strip(), row["translation"].strip()
    found = occurring(terms, original, translation, row["language"])
    other = choice.choice(terms.entries) if found else ("", "")
    if forward:
        return Pair(row["id"], first, second, original, translation, found, _absent(other[1], translation))
    backwards = tuple(term.backwards for term in found)
    return Pair(row["id"], second, first, translation, original, backwards, _absent(other[0], original))


def _absent(term: str, text: str) -> str:
    """The term, if the text has it nowhere."""
    return "" if term.casefold() in text.casefold() else term


def _joined(turns: list[str]) -> str:
    return "".join(turn if turn[-1:].isspace() else f"{turn}\n\n" for turn in turns[:-1]) + turns[-1]
