"""Texts that supervised stages (cpt, sft) train on, and what is done to them before."""

from typing import Annotated, Any, Literal

from pydantic import Field

from tower_rl.config.section import Positive, Section, Share, Text, Weight


class Corpus(Section):
    """What all corpora have."""

    licence: str = "unknown"
    """Licence of the texts; kept with every row."""
    max_rejects: Share = 0.01
    """Share of bad rows above which the run stops; bad rows are written to rejects.jsonl."""


class RowsCorpus(Corpus):
    """Rows of files.

    Their shape is recognised: `messages`; ShareGPT's `conversations`; Alpaca's `instruction`, `input`, `output`; `prompt` and
    `completion`; a pair `source`, `target` with `source_lang`, `target_lang`, or `translation: {en: ..., de: ...}`; `text`.
    """

    path: Text
    """A file, a pattern with `*`, or a URI that fsspec reads (s3://, gs://, https://); JSON lines may be gzipped."""
    language: str | None = None
    """Language of plain texts that name none."""


class JsonlCorpus(RowsCorpus):
    """Rows of JSON lines files."""

    kind: Literal["jsonl"]
    """Kind of the corpus."""


class ParquetCorpus(RowsCorpus):
    """Rows of parquet files."""

    kind: Literal["parquet"]
    """Kind of the corpus."""


class HuggingFaceCorpus(Corpus):
    """A split of a data set in the Hugging Face format, in the shapes of JSON lines."""

    kind: Literal["huggingface"]
    """Kind of the corpus."""
    path: Text
    """A name on the hub, a folder saved by `datasets`, or a folder that `datasets.load_dataset` reads."""
    split: str = "train"
    """The split."""
    language: str | None = None
    """Language of plain texts that name none."""


class GettextCorpus(Corpus):
    """Segments of the gettext catalogues that an installed package carries, English to the catalogue's language."""

    kind: Literal["gettext"]
    """Kind of the corpus."""
    package: Text = "django"
    """The installed package."""
    languages: list[str] = Field(min_length=1)
    """Catalogue languages, by their locale names, e.g. `de`, `pt_BR`."""


class TmxCorpus(Corpus):
    """Translation memories in TMX."""

    kind: Literal["tmx"]
    """Kind of the corpus."""
    path: Text
    """A file or a pattern with `*`."""
    pairs: list[str] = []
    """Language pairs to read, e.g. `en-de`; empty: the memory's source language with each other language of a unit."""


class XliffCorpus(Corpus):
    """Translated units of XLIFF 1.2 or 2.0 files."""

    kind: Literal["xliff"]
    """Kind of the corpus."""
    path: Text
    """A file or a pattern with `*`."""


class TextCorpus(Corpus):
    """Plain text, one document a line, or paragraphs in documents that empty lines part."""

    kind: Literal["text"]
    """Kind of the corpus."""
    path: Text
    """A file, a pattern with `*`, or a URI; may be gzipped."""
    language: Text
    """Language of the texts."""
    document: Literal["line", "block", "file"] = "line"
    """What one document is: a line, the lines up to an empty one, or the whole file."""


class AlignedCorpus(Corpus):
    """Two files whose lines are translations of each other (Moses, WMT)."""

    kind: Literal["aligned"]
    """Kind of the corpus."""
    path: Text
    """File of the first language; may be gzipped."""
    target_path: Text
    """File of the second language."""
    languages: Annotated[tuple[str, str], Field(strict=False)]
    """The two languages."""
    documents: str | None = None
    """File with the document name of each line; without it neighbours are not joined."""


AnyCorpus = Annotated[
    JsonlCorpus | ParquetCorpus | HuggingFaceCorpus | GettextCorpus | TmxCorpus | XliffCorpus | TextCorpus | AlignedCorpus,
    Field(discriminator="kind"),
]


class Quality(Section):
    """A verifier as a filter: rows that score below a bound are dropped."""

    use: Text
    """Name of an installed verifier, or `module:attribute`."""
    options: dict[str, Any] = {}
    """Options of that verifier."""
    minimum: float
    """Score below which a row is dropped."""


class Cleaning(Section):
    """Steps between the sources and the templates, in this order, after normalization and the removal of translations that
    copy the original. What they drop is counted by reason and sampled."""

    min_characters: Positive = 2
    """Shorter texts are dropped; of a chat all messages count together."""
    max_characters: Positive = 100_000
    """Longer texts are dropped."""
    max_length_ratio: Annotated[float, Field(ge=1)] = 3.0
    """Translations that are longer or shorter than the original by more than this factor are dropped."""
    language_confidence: Share = 0.0
    """Texts that are probably in another language or script than the one they name are dropped, if it is this certain; 0: not
    looked at."""
    scrub: bool = True
    """Whether e-mail addresses and secrets are replaced by placeholders."""
    exact_duplicates: bool = True
    """Whether only the first of equal texts is kept; a stage that streams does not look."""
    near_duplicates: Share = 0.0
    """Estimated Jaccard similarity of word 5-grams (MinHash) from which only the first text is kept; 0: not looked at."""
    decontaminate: list[Text] = []
    """Evaluation files (JSON lines or text, also gzipped, patterns with `*`); rows that share 13 words in a row are dropped."""
    quality: Quality | None = None
    """A filter by a verifier."""
    samples: Positive = 20
    """Dropped rows that are kept to be looked at, for each corpus and reason."""


class ParallelTasks(Section):
    """How pairs become instructions. Templates, direction and task are chosen by the row's id, so they never change."""

    directions: Literal["forward", "backward", "both"] = "both"
    """From the first language to the second, the other way, or either by turns."""
    pivots: Annotated[int, Field(ge=0)] = 0
    """Most pairs that two translations of one original make, for each original."""
    document_segments: Positive = 1
    """Most neighbouring segments of a document that are joined into one pair."""
    tasks: dict[str, Weight] = {"translate": 1.0}
    """Kinds of tasks and their shares: translate, post_edit, error_spans, choose_better, terminology, formality."""
