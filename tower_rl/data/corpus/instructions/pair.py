"""One translation on its way to an instruction."""

from dataclasses import dataclass
from functools import cache

from tower_rl.data.languages import LANGUAGE_NAMES
from verifiers.translation import languages


@dataclass(frozen=True, slots=True)
class Term:
    """Words of the source and their translation, as both texts write them."""

    source: str
    source_start: int
    translation: str
    start: int
    """Where it stands in the translation; `source_start`: in the source."""

    @property
    def end(self) -> int:
        """Where it ends in the translation."""
        return self.start + len(self.translation)

    @property
    def backwards(self) -> "Term":
        """The same for the other direction."""
        return Term(self.translation, self.start, self.source, self.source_start)


@dataclass(frozen=True, slots=True)
class Pair:
    """A source and its translation, in the direction in which they are learned."""

    id: str
    """Of the row, without the task."""
    source_lang: str
    target_lang: str
    source: str
    translation: str
    terms: tuple[Term, ...] = ()
    """What a glossary says about words of the source, where the translation agrees."""
    other_term: str = ""
    """Translation of a term that is none of these; "" without a glossary."""

    @property
    def names(self) -> dict[str, str]:
        """`from_lang` and `to_lang` in English, as templates call them."""
        return {
            "from_lang": language_name(self.source_lang) or self.source_lang,
            "to_lang": language_name(self.target_lang) or self.target_lang,
        }


@dataclass(frozen=True, slots=True)
class Example:
    """What the user says and what the assistant answers."""

    task: str
    user: str
    assistant: str


@cache
def language_name(code: str) -> str | None:
    """English name of one of the recipe's languages or variants; None for another, and for `zh`, which says no variant."""
    return LANGUAGE_NAMES.get(languages.canonical(code))
