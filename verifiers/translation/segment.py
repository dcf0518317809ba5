"""One translated text, as the rules see it, and what a rule answers."""

from dataclasses import dataclass, field
from functools import cached_property
from typing import Annotated, Literal

from pydantic import ConfigDict, Field, PositiveInt
from pydantic.dataclasses import dataclass as checked

from verifiers.text import visible
from verifiers.translation.markup import prose

_Text = Annotated[str, Field(pattern=r"\w")]


@checked(frozen=True, config=ConfigDict(strict=True))
class Facts:
    """What a task may ask for beyond a translation; each is the subject of one rule. Raises ValidationError for other types."""

    glossary: dict[_Text, _Text] = field(default_factory=dict)
    """Terms of the source and how to translate them."""
    keep: list[_Text] = field(default_factory=list)
    """Terms of the source that are not translated."""
    max_chars: PositiveInt | None = None
    """Most characters of the translation."""
    register: Literal["formal", "informal"] | None = None
    """How to address the reader."""


@dataclass(frozen=True)
class Segment:
    """A source, a response that should be its translation, and perhaps a human translation."""

    source: str
    response: str
    source_lang: str
    target_lang: str
    reference: str | None = None
    facts: Facts = field(default_factory=Facts)

    @cached_property
    def source_prose(self) -> str:
        """The visible source without tags, placeholders and URLs."""
        return visible(prose(self.source))

    @cached_property
    def response_prose(self) -> str:
        """The visible response without tags, placeholders and URLs."""
        return visible(prose(self.response))


@dataclass(frozen=True, slots=True)
class Finding:
    """What a rule says about a segment to which it applies."""

    score: float
    """0..1"""
    reason: str = ""
    """What is wrong, when it is not 1."""
    flag: str = ""
    """Sign of reward hacking."""
