"""A verifier as a filter of rows."""

import json
from dataclasses import dataclass
from functools import cache

import pyarrow as pa

from tower_rl.config.corpora import Quality
from tower_rl.data.corpus.cleaning.table import Loss, Record, drop, note, records
from verifiers.calls import verify
from verifiers.registry import load
from verifiers.types import Task, Verdict, Verifier


@dataclass(frozen=True)
class Judged:
    """The verdicts of a verifier on the rows in use."""

    quality: Quality

    def __call__(self, table: pa.Table) -> pa.Table:
        """Drops `quality: low score`.

        A row with an invalid verdict is kept, with the note `unjudged: REASON`: the verifier says nothing about it, and the count
        of such notes tells that it failed. Raises what `verifiers.registry.load` raises.
        """
        name = self.quality.use
        verifier = _loaded(name, json.dumps(self.quality.options, sort_keys=True))
        found = zip(records(table), table["messages"].to_pylist(), strict=True)
        tasks = {row: _task(record, messages) for row, (record, messages) in enumerate(found) if record}
        verdicts = dict(zip(tasks, verify(verifier, list(tasks.values()), name), strict=True))
        # One task for which the verifier raises makes all of its call invalid.
        verdicts |= {row: verify(verifier, [tasks[row]], name)[0] for row, verdict in verdicts.items() if verdict.score is None}
        losses = [self._loss(verdicts.get(row)) for row in range(table.num_rows)]
        notes = [f"unjudged: {v.reason}" if (v := verdicts.get(row)) and v.score is None else "" for row in range(table.num_rows)]
        return drop(note(table, notes), losses)

    def _loss(self, verdict: Verdict | None) -> Loss | None:
        if verdict is None or verdict.score is None or verdict.score >= self.quality.minimum:
            return None
        return "quality: low score", f"{self.quality.use} gives {verdict.score:.3f}; {verdict.reason}"


def _task(record: Record, messages: list[dict[str, str]]) -> Task:
    """A text is judged as a response to nothing, a translation to its original, a chat's last answer to what stands before it."""
    if record.kind == "pair":
        original, translation = record.texts
        source, target = record.languages
        return Task(original, translation, meta={"source": original, "source_lang": source, "target_lang": target})
    if record.kind == "text":
        return Task("", record.texts[0], meta={"target_lang": record.language})
    last = max((at for at, message in enumerate(messages) if message["role"] == "assistant"), default=len(messages))
    before = tuple(messages[:last])
    prompt = next((message["content"] for message in reversed(before) if message["role"] == "user"), "")
    response = messages[last]["content"] if last < len(messages) else ""
    return Task(prompt, response, meta={"target_lang": record.language}, messages=before)


@cache
def _loaded(name: str, options: str) -> Verifier:
    """One verifier a process: models are large."""
    return load(name, **json.loads(options))
