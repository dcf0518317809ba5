"""Which prompts of the stream are sampled."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from tower_rl.config.sampling import Difficulty
from tower_rl.data.stream import PromptStream
from tower_rl.difficulty import History, Record
from tower_rl.types import Prompt, ScoredGroup


@dataclass(frozen=True, slots=True)
class Skip:
    """A prompt that was passed over, and why."""

    prompt: Prompt
    record: Record


class Candidates:
    """The prompts of a stream in order, less those that the difficulty filter passes over.

    The stream stays a function of (seed, cursor): what is passed over keeps its cursor and is told as a Skip.
    """

    def __init__(self, stream: PromptStream, difficulty: Difficulty | None) -> None:
        self._stream = stream
        self._history = None if difficulty is None else History(difficulty)

    def take(self, n: int) -> tuple[list[Prompt], list[Skip]]:
        """The next `n` prompts to sample, and those passed over on the way. It ends: each pass shortens a rest."""
        taken: list[Prompt] = []
        skipped: list[Skip] = []
        while len(taken) < n:
            (prompt,) = self._stream.take(1)
            record = None if self._history is None else self._history.pass_over(prompt)
            if record is None:
                taken.append(prompt)
            else:
                skipped.append(Skip(prompt, record))
        return taken, skipped

    def observe(self, scored: Iterable[ScoredGroup]) -> None:
        """Take down how groups came out, in their order."""
        if self._history is not None:
            for group in scored:
                self._history.observe(group)

    def state_dict(self) -> dict[str, Any]:
        """The stream's state, and the history if there is one."""
        history = {} if self._history is None else {"history": self._history.state_dict()}
        return {**self._stream.state_dict(), **history}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave. Raises DataError when the stream is another one."""
        self._stream.load_state_dict(state)
        if self._history is not None:
            self._history.load_state_dict(state["history"])
