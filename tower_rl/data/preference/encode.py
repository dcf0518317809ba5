"""Given answers as tokens, so that they can compete with sampled ones."""

from collections.abc import Sequence
from itertools import compress

from transformers import PreTrainedTokenizerBase

from tower_rl.data.chat import Tokens, Unfit, conversations
from tower_rl.data.preference.types import Candidate
from tower_rl.data.rows import Answer, Reject
from tower_rl.types import Prompt

GIVEN = "given"
"""The scorer's name of scores that the data give."""


def encode(tokenizer: PreTrainedTokenizerBase, prompt: Prompt, answers: Sequence[Answer]) -> tuple[list[Candidate], list[Reject]]:
    """The answers as the model would have written them, up to the token that ends its turn; and those that it cannot have.

    An answer whose first token also holds the end of the prompt is refused: pairs share the prompt's tokens.
    """
    chats = [(*prompt.messages, {"role": "assistant", "content": answer.text}) for answer in answers]
    candidates, rejects = [], []
    for answer, tokens in zip(answers, conversations(tokenizer, chats), strict=True):
        try:
            candidates.append(_candidate(answer, _turn(prompt, tokens)))
        except Unfit as error:
            rejects.append(Reject(prompt.source, prompt.id, f"answer: {error.reason}", f"{answer.origin}: {error.detail}"))
    return candidates, rejects


def _turn(prompt: Prompt, tokens: Tokens | Unfit) -> tuple[int, ...]:
    """The tokens of the last turn, which stand behind the prompt's."""
    if isinstance(tokens, Unfit):
        raise tokens
    begin = len(prompt.token_ids)
    if tokens.token_ids[:begin] != prompt.token_ids:
        raise Unfit("joined to the prompt", "the conversation's tokens do not begin with the prompt's")
    return tuple(compress(tokens.token_ids[begin:], tokens.trained[begin:]))


def _candidate(answer: Answer, token_ids: tuple[int, ...]) -> Candidate:
    given = {} if answer.score is None else {GIVEN: answer.score}
    return Candidate(answer.text, token_ids, answer.origin, given, answer.score, "" if given else "not scored")
