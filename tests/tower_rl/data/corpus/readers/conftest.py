"""Corpora that are read through the dispatch, as the platform reads them."""

from collections.abc import Callable
from typing import Any

import pytest
from pydantic import TypeAdapter

from tower_rl.config.corpora import AnyCorpus
from tower_rl.data.corpus.readers import dispatch
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.corpus.records import RECORDS

Rows = Callable[..., list[dict[str, Any]]]
Parts = Callable[..., list[Part]]


@pytest.fixture
def parts() -> Parts:
    """Options of a corpus to the parts of the corpus `c`."""

    def make(**options: object) -> list[Part]:
        return dispatch.files("c", TypeAdapter(AnyCorpus).validate_python(options))

    return make


@pytest.fixture
def rows(parts: Parts) -> Rows:
    """Options of a corpus to all its rows, good and bad, as dictionaries."""

    def read(**options: object) -> list[dict[str, Any]]:
        tables = [table for part in parts(**options) for table in dispatch.tables(part)]
        assert all(table.schema.equals(RECORDS) for table in tables)
        return [row for table in tables for row in table.to_pylist()]

    return read
