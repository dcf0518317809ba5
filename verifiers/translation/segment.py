"""One translated text, as the rules see it, and what a rule answers."""

from dataclasses import dataclass
from functools import cached_property

from verifiers.text import visible
from verifiers.translation.markup import prose


@dataclass(frozen=True)
class Segment:
    """A source, a response that should be its translation, and perhaps a human translation."""

    source: str
    response: str
    source_lang: str
    target_lang: str
    reference: str | None = None

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
