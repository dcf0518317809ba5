"""The stream of candidate prompts: a pure function of (configuration, files, tokenizer, seed, cursor)."""

import hashlib
import json
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from transformers import PreTrainedTokenizerBase

from tower_rl.config import schema
from tower_rl.data.chat import render
from tower_rl.data.rows import Answer, DataError, Reject, Row
from tower_rl.data.sources import check_rejects, read_source
from tower_rl.types import Prompt


@dataclass(frozen=True, slots=True)
class _Task:
    """A row with its prompt tokens."""

    row: Row
    token_ids: tuple[int, ...]


class PromptStream:
    """Prompts of a weighted mixture of sources, without end; every source is shuffled anew in each of its epochs.

    No row of a source repeats before all of them were given. All rows are read and rendered once, here. Rows that are
    bad, too long or duplicates are counted in `rejected` and written to the file `rejects`, one JSON object a line.

    Raises DataError when a source cannot be read, has too many bad rows, or has no row left.
    """

    def __init__(
        self,
        data: schema.Data,
        seed: int,
        tokenizer: PreTrainedTokenizerBase,
        *,
        held_out: int = 0,
        rejects: Path,
    ) -> None:
        self._seed = seed
        self._weights = _normalised(data)
        tasks, found = _read_tasks(data, seed, tokenizer, rejects)
        self.rejected: Counter[str] = Counter(f"{reject.source}/{reject.reason}" for reject in found)
        """How many rows are not used, by `SOURCE/REASON`; reasons are `bad row`, `too long`, `duplicate`."""
        self._panel = _panel(tasks, seed, held_out)
        self._tasks = _without(tasks, self._panel)
        self._digest = _digest(seed, self._weights, self._tasks)
        self._cursor = 0
        self._taken = dict.fromkeys(self._tasks, 0)
        self._orders: dict[str, tuple[int, list[int]]] = {}

    @property
    def sizes(self) -> dict[str, int]:
        """Training rows of each source."""
        return {name: len(tasks) for name, tasks in self._tasks.items()}

    @property
    def verifiers(self) -> frozenset[str]:
        """Names of all verifiers that the rows ask for; rows with answers may ask for none."""
        tasks = [*self._panel, *((name, task) for name, listed in self._tasks.items() for task in listed)]
        return frozenset(task.row.verifier for _, task in tasks) - {""}

    @property
    def answers(self) -> dict[str, tuple[Answer, ...]]:
        """The answers that the data give to training prompts, by their ids."""
        return {task.row.id: task.row.answers for tasks in self._tasks.values() for task in tasks}

    def take(self, n: int) -> list[Prompt]:
        """The next `n` prompts; their cursors go on from the last call's."""
        return [self._next() for _ in range(n)]

    def held_out(self) -> list[Prompt]:
        """The fixed panel, drawn evenly from the sources; it depends on the seed alone and never occurs in training.

        The cursors of its prompts are -1, -2, ...: they are no positions of the stream.
        """
        return [_prompt(name, task, -1 - place) for place, (name, task) in enumerate(self._panel)]

    def state_dict(self) -> dict[str, Any]:
        """The cursor, and a digest of what the stream is made of."""
        return {"cursor": self._cursor, "digest": self._digest}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Goes to the saved cursor. Raises DataError when the stream is no longer the one that was saved."""
        if state["digest"] != self._digest:
            raise DataError(
                "the prompts are not those of the checkpoint (seed, weights, rows, tokenizer, held-out panel or "
                "max_prompt_tokens changed); restore them, or start a new run"
            )
        self._cursor = 0
        self._taken = dict.fromkeys(self._tasks, 0)
        for _ in range(state["cursor"]):
            self._advance()

    def _next(self) -> Prompt:
        cursor = self._cursor
        name, count = self._advance()
        tasks = self._tasks[name]
        epoch, place = divmod(count, len(tasks))
        return _prompt(name, tasks[self._order(name, epoch)[place]], cursor)

    def _advance(self) -> tuple[str, int]:
        """Moves one position on; the source of that position and how many were taken from it before."""
        self._cursor += 1
        # The source furthest behind its share: after n prompts each has n * share of them, give or take one.
        name = max(self._weights, key=lambda source: self._weights[source] * self._cursor - self._taken[source])
        self._taken[name] += 1
        return name, self._taken[name] - 1

    def _order(self, name: str, epoch: int) -> list[int]:
        """The permutation of a source's rows in an epoch; the current one is kept."""
        if name not in self._orders or self._orders[name][0] != epoch:
            order = list(range(len(self._tasks[name])))
            random.Random(f"{self._seed}/{name}/epoch {epoch}").shuffle(order)
            self._orders[name] = (epoch, order)
        return self._orders[name][1]


def _normalised(data: schema.Data) -> dict[str, float]:
    weights = {name: data.weights.get(name, 1.0) for name in data.sources}
    total = sum(weights.values())
    return {name: weight / total for name, weight in weights.items()}


def _read_tasks(
    data: schema.Data, seed: int, tokenizer: PreTrainedTokenizerBase, path: Path
) -> tuple[dict[str, list[_Task]], list[Reject]]:
    """Usable rows of each source; what is not usable is returned and written to `path`, also when there is too much of it."""
    rows: dict[str, list[Row]] = {}
    rejects: list[Reject] = []
    for name, source in data.sources.items():
        rows[name], bad = read_source(name, source, seed)
        rejects += bad
    _write(path, rejects)
    check_rejects(data.sources, rows, rejects)
    tasks: dict[str, list[_Task]] = {}
    for name in data.sources:
        tasks[name], unused = _render_rows(name, rows[name], data, tokenizer)
        rejects += unused
    _write(path, rejects)
    for name, listed in tasks.items():
        if not listed:
            reasons = Counter(reject.reason for reject in rejects if reject.source == name)
            counts = ", ".join(f"{count} {reason}" for reason, count in reasons.items()) or "it yields none"
            raise DataError(f"source {name!r} has no usable row: {counts}; see {path}")
    return tasks, rejects


def _render_rows(
    name: str, rows: list[Row], data: schema.Data, tokenizer: PreTrainedTokenizerBase
) -> tuple[list[_Task], list[Reject]]:
    tasks, rejects = [], []
    first: dict[tuple[int, ...], str] = {}
    for row in rows:
        messages = _with_system(row.messages, data.system_prompt)
        token_ids = render(tokenizer, messages)
        if token_ids in first:
            rejects.append(Reject(name, row.id, "duplicate", f"the same prompt as {first[token_ids]}"))
        elif len(token_ids) > data.max_prompt_tokens:
            rejects.append(Reject(name, row.id, "too long", f"{len(token_ids)} tokens, above {data.max_prompt_tokens}"))
        else:
            first[token_ids] = row.id
            tasks.append(_Task(replace(row, messages=messages), token_ids))
    return tasks, rejects


def _with_system(messages: tuple[Mapping[str, str], ...], system: str | None) -> tuple[Mapping[str, str], ...]:
    if system is None or messages[0]["role"] == "system":
        return messages
    return ({"role": "system", "content": system}, *messages)


def _panel(tasks: dict[str, list[_Task]], seed: int, size: int) -> list[tuple[str, _Task]]:
    """`size` tasks, as evenly from the sources as their number allows (the first ones give one more)."""
    panel = []
    for place, (name, listed) in enumerate(tasks.items()):
        quota = size // len(tasks) + (place < size % len(tasks))
        if quota >= len(listed):
            raise DataError(f"a held-out panel of {size} leaves no row of source {name!r}: it takes {quota} of {len(listed)}")
        panel += [(name, task) for task in random.Random(f"{seed}/{name}/held out").sample(listed, quota)]
    return panel


def _without(tasks: dict[str, list[_Task]], panel: list[tuple[str, _Task]]) -> dict[str, list[_Task]]:
    """Training tasks: those whose prompt is in no source's part of the panel."""
    held_out = {task.token_ids for _, task in panel}
    training = {name: [task for task in listed if task.token_ids not in held_out] for name, listed in tasks.items()}
    for name, listed in training.items():
        if not listed:
            raise DataError(f"source {name!r} has no row left beside the held-out panel")
    return training


def _prompt(source: str, task: _Task, cursor: int) -> Prompt:
    row = task.row
    return Prompt(
        id=row.id,
        messages=row.messages,
        token_ids=task.token_ids,
        verifier=row.verifier,
        reference=row.reference,
        meta=row.meta,
        source=source,
        cursor=cursor,
        language_pair=row.language_pair,
    )


def _digest(seed: int, weights: dict[str, float], tasks: dict[str, list[_Task]]) -> str:
    digest = hashlib.sha256(json.dumps([seed, weights]).encode())
    for listed in tasks.values():
        for task in listed:
            row = task.row
            facts = [
                row.id,
                row.messages,
                task.token_ids,
                row.verifier,
                row.reference,
                row.meta,
                [asdict(answer) for answer in row.answers],
            ]
            digest.update(json.dumps(facts, sort_keys=True, default=str).encode())
    return digest.hexdigest()


def _write(path: Path, rejects: list[Reject]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(asdict(reject), ensure_ascii=False) + "\n" for reject in rejects), encoding="utf-8")
