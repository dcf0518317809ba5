"""Answers that compete: those that an engine samples, and behind them those that the data give."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import replace

from transformers import PreTrainedTokenizerBase

from tower_rl.data.preference.encode import encode
from tower_rl.data.preference.types import Candidate, Candidates, as_rollout, sampled
from tower_rl.data.rows import Answer, Reject
from tower_rl.protocols import Generator, VerifierPool
from tower_rl.types import Group, Prompt, ScoredGroup
from verifiers.types import Verdict, invalid

UNSCORED = "not scored"


class Competing:
    """A Generator and a VerifierPool whose groups are all answers of a prompt."""

    def __init__(
        self,
        generator: Generator | None,
        verifiers: VerifierPool,
        tokenizer: PreTrainedTokenizerBase,
        answers: Mapping[str, Sequence[Answer]],
    ) -> None:
        """Who samples, if anybody; who scores prompts that name a verifier; and given answers by the ids of prompts."""
        self.generator, self.verifiers = generator, verifiers
        self._tokenizer, self._answers = tokenizer, answers
        self._given: dict[str, tuple[list[Candidate], list[Reject]]] = {}

    async def generate(self, prompts: Sequence[Prompt], samples: int) -> AsyncGenerator[Group, None]:
        """See tower_rl.protocols.Generator; `samples` are sampled, if anybody samples."""
        self._given = {prompt.id: encode(self._tokenizer, prompt, self._answers.get(prompt.id, ())) for prompt in prompts}
        if self.generator is None:
            for prompt in prompts:
                yield self._with_given(Group(prompt, ()))
        else:
            async with aclosing(self.generator.generate(prompts, samples)) as groups:
                async for group in groups:
                    yield self._with_given(group)

    async def rest(self) -> None:
        """See tower_rl.protocols.Generator."""
        if self.generator is not None:
            await self.generator.rest()

    async def verify(self, group: Group) -> ScoredGroup:
        """See tower_rl.protocols.VerifierPool; answers to a prompt that names no verifier have no score."""
        if group.prompt.verifier and group.rollouts:
            return await self.verifiers.verify(group)
        return ScoredGroup(group.prompt, group.rollouts, (invalid(UNSCORED),) * len(group.rollouts))

    def candidates(self, scored: Sequence[ScoredGroup]) -> tuple[list[Candidates], list[Reject]]:
        """The answers of groups that were generated last with their scores, and given answers that the model cannot have."""
        rejects = [reject for group in scored for reject in self._given[group.prompt.id][1]]
        return [Candidates(group.prompt, tuple(self._scored(group))) for group in scored], rejects

    def _with_given(self, group: Group) -> Group:
        given, _ = self._given[group.prompt.id]
        return Group(group.prompt, (*group.rollouts, *map(as_rollout, given)))

    def _scored(self, group: ScoredGroup) -> list[Candidate]:
        given, _ = self._given[group.prompt.id]
        own = [sampled(rollout) for rollout in group.rollouts[: len(group.rollouts) - len(given)]]
        return [_judged(one, verdict) for one, verdict in zip([*own, *given], group.verdicts, strict=True)]


def _judged(candidate: Candidate, verdict: Verdict) -> Candidate:
    """With the verdict's score; without a verdict, with the score that the data give."""
    if verdict.reason == UNSCORED and verdict.score is None:
        return candidate
    parts = {f"{verdict.verifier}/{name}": value for name, value in verdict.parts.items()}
    own = {} if verdict.score is None else {verdict.verifier: verdict.score}
    return replace(candidate, scores={**candidate.scores, **own, **parts}, score=verdict.score, reason=verdict.reason)
