"""What all readers share: the unit of work, the row that is used, and the row that is not."""

from dataclasses import dataclass
from typing import Generic, TypeVar

from tower_rl.config.corpora import Corpus
from tower_rl.data.corpus.readers.tags import language_code
from tower_rl.data.rows import Reject

C = TypeVar("C", bound=Corpus)


@dataclass(frozen=True, slots=True)
class Part(Generic[C]):
    """What is read in one go, by one worker: a file, or some of its rows."""

    name: str
    """The name of the corpus."""
    corpus: C
    """Its configuration."""
    paths: tuple[str, ...]
    """The files that it is made of, all that `digest` looks at; aligned corpora have two or three."""
    label: str
    """What the ids of its rows begin with, after the corpus: the file's name without the folders that all files share."""
    starts: tuple[int, ...] = (0,)
    """Where the first row stands in each file: a byte, or the row group (parquet), or the row (huggingface)."""
    first: int = 1
    """Number of the first row or line in its file, from 1."""
    count: int | None = None
    """Rows or lines to read; None: all from the first."""

    def row_id(self, place: int | str, own: str = "") -> str:
        """Stable and unique in the run: the corpus, the file, the row's place in it, and the row's own name after a `#`."""
        return f"{self.name}/{self.label}:{place}{'#' if own else ''}{own}"

    def reject(self, place: int | str, bad: "BadRow") -> Reject:
        """The row at this place of the first file, with its reason."""
        return Reject(self.name, f"{self.paths[0]}:{place}", bad.reason, bad.detail)


class BadRow(Exception):
    """Why a row is not used.

    `reason` is a class by which rows are counted: `read: ...` for bad input, `unused: ...` for what the format itself marks as
    not to be used.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Record:
    """A row of RECORDS (tower_rl/data/corpus/records.py), but for the columns that the corpus decides."""

    id: str
    kind: str
    """text, pair or chat."""
    language: str
    text: str = ""
    original: str = ""
    translation: str = ""
    messages: tuple[dict[str, str], ...] = ()
    document: str = ""
    position: int = 0
    licence: str = ""
    """Of this row; "": the corpus's."""


def text_of(value: object, field: str) -> str:
    """A string that is text. Raises BadRow for another type, and for lone surrogates, which no UTF-8 can say."""
    if not isinstance(value, str):
        raise BadRow("read: wrong type", f"{field} is no string")
    if not is_text(value):
        raise BadRow("read: invalid UTF-8", f"{field} has a lone surrogate")
    return value


def filled(value: object, field: str) -> str:
    """Text that is not blank. Raises BadRow."""
    text = text_of(value, field)
    if not text.strip():
        raise BadRow("read: empty", f"{field} is empty")
    return text


def code(tag: str) -> str:
    """`language_code`, for a row. Raises BadRow."""
    try:
        return language_code(tag)
    except ValueError:
        raise BadRow("read: unknown language", f"{shown(tag)} is no language tag; en, pt-BR or zh_Hant are") from None


def is_text(value: str) -> bool:
    """Whether UTF-8 can say it; "\\ud800" it cannot."""
    if value.isascii():
        return True
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def shown(value: object) -> str:
    """A value in a message: printable, and short whatever it is."""
    words = ascii(value) if isinstance(value, str) and not is_text(value) else repr(value)
    return words if len(words) <= 60 else f"{words[:57]}..."
