"""All configured sources as rows."""

from collections.abc import Mapping

from tower_rl.config.schema import AnswersSource, CatalogueSource, ConstraintSource, JsonlSource, ReasoningGymSource, Source
from tower_rl.data import catalogue, jsonl, procedural
from tower_rl.data.preference import given
from tower_rl.data.rows import Reject, Row


def read_source(name: str, source: Source, seed: int) -> tuple[list[Row], list[Reject]]:
    """Rows of one source, a pure function of its configuration, its files and `seed`; and its bad rows.

    Raises DataError when the source cannot be read or made.
    """
    match source:
        case JsonlSource():
            return jsonl.read(name, source)
        case AnswersSource():
            return given.read(name, source)
        case CatalogueSource():
            return catalogue.rows(name, source), []
        case ReasoningGymSource():
            return procedural.reasoning_gym_rows(name, source, seed), []
        case ConstraintSource():
            return procedural.constraint_rows(name, source, seed), []


def check_rejects(sources: Mapping[str, Source], rows: Mapping[str, list[Row]], rejects: list[Reject]) -> None:
    """Raises DataError for a file with too large a share of bad rows."""
    for name, source in sources.items():
        if isinstance(source, JsonlSource | AnswersSource):
            jsonl.check_rejects(name, source, len(rows[name]), [reject for reject in rejects if reject.source == name])
