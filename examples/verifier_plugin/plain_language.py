"""Two verifiers of our own: one with options, one from a plain function."""

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel, Field

from verifiers import Task, Verdict, scored
from verifiers.decorator import verifier
from verifiers.options import VerifierOptions


class PlainLanguageOptions(VerifierOptions):
    """Options of `plain_language`."""

    most_words: int = Field(default=20, gt=0)
    """Longest sentence that counts as plain, in words."""


class PlainLanguage:
    """Share of the sentences that have at most `most_words` words."""

    Options: ClassVar[type[BaseModel]] = PlainLanguageOptions
    timeout_is_failure: ClassVar[bool] = True  # only a response can make us slow

    def __init__(self, options: PlainLanguageOptions) -> None:
        self.most_words = options.most_words

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._judge(task.response) for task in tasks]

    def _judge(self, text: str) -> Verdict:
        sentences = [sentence for sentence in re.split(r"[.!?]+", text) if sentence.strip()]
        if not sentences:
            return scored(0.0, reason="no sentence")
        long = [sentence for sentence in sentences if len(sentence.split()) > self.most_words]
        reason = f"{len(long)} of {len(sentences)} sentences are too long" if long else ""
        return scored(1 - len(long) / len(sentences), reason=reason)


@verifier
def no_exclamation(response, reference):
    """No exclamation mark."""
    return "!" not in response
