"""Pairs of Django's catalogues and made-up ones, as tables of rows."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import django
import polib
import pyarrow as pa
import pytest

from tower_rl.data.corpus.records import RECORDS

Rows = Callable[[Sequence[dict[str, Any]]], pa.Table]

_EMPTY: dict[str, Any] = {
    "id": "c/1",
    "corpus": "c",
    "licence": "BSD-3-Clause",
    "kind": "pair",
    "language": "en-de",
    "text": "",
    "original": "",
    "translation": "",
    "messages": [],
    "document": "",
    "position": 0,
    "dropped": "",
    "detail": "",
}


@pytest.fixture(scope="session")
def table() -> Rows:
    """Rows from the columns that matter, the others as of an English-German pair."""
    return lambda rows: pa.Table.from_pylist([_EMPTY | row for row in rows], RECORDS)


@pytest.fixture(scope="session")
def catalogues(table: Rows) -> pa.Table:
    """Segments of Django's catalogues in a few languages, neighbours in documents."""
    root = Path(django.__file__).parent
    rows = []
    for language in ("de", "fr", "it", "ja", "pt", "pt_BR", "ru", "zh_Hans"):
        for path in sorted(root.glob(f"**/locale/{language}/LC_MESSAGES/*.po")):
            place = ".".join((language, *path.relative_to(root).parts[:-4], path.stem))
            for number, entry in enumerate(polib.pofile(str(path))):
                if entry.msgstr and not (entry.msgid_plural or entry.obsolete or entry.fuzzy):
                    rows.append(
                        {
                            "id": f"django/{place}/{number}",
                            "corpus": "django",
                            "language": f"en-{language}",
                            "original": entry.msgid,
                            "translation": entry.msgstr,
                            "document": place,
                            "position": number,
                        }
                    )
    return table(rows)
