"""Made-up rows of corpora, and a verifier that judges them."""

import pyarrow as pa

from tower_rl.data.corpus.records import RECORDS
from verifiers.options import VerifierOptions
from verifiers.types import scored

EMPTY = {"id": "", "corpus": "c", "licence": "", "kind": "text", "language": "", "text": "", "original": "", "translation": ""}
EMPTY |= {"messages": [], "document": "", "position": 0, "dropped": "", "detail": ""}


def table(*rows):
    """RECORDS of rows that name only what counts."""
    return pa.Table.from_pylist([EMPTY | {"id": f"c/{n}"} | row for n, row in enumerate(rows)], RECORDS)


def text(value, language=""):
    return {"text": value, "language": language}


def pair(original, translation, language="en-de"):
    return {"kind": "pair", "original": original, "translation": translation, "language": language}


def chat(*contents, language=""):
    roles = ("user", "assistant")
    messages = [{"role": roles[n % 2], "content": content} for n, content in enumerate(contents)]
    return {"kind": "chat", "messages": messages, "language": language}


def reasons(result):
    return result["dropped"].to_pylist()


class Picky:
    """Scores by the length of the response; raises for one text, and so for every call that has it."""

    Options = VerifierOptions
    timeout_is_failure = False

    def __init__(self, options):
        pass

    def verify(self, tasks):
        if any("boom" in task.response for task in tasks):
            raise ValueError("boom")
        return [scored(min(1.0, len(task.response) / 10)) for task in tasks]
