"""Chat messages and documents to token ids, with a mask of the tokens that are learned.

A conversation is rendered as a whole by the tokenizer's own template, and tokenized once. An assistant's turn begins behind what
the model is given when it is to answer: the messages before, with the generation prompt. It ends with the first control token
after that (`<|im_end|>`, `<|eot_id|>`, `<end_of_turn>`, ...); no text may hold one, so that none can feign an end. A conversation
that does not lend itself to this is refused, e.g. where the template changes an earlier turn because of a later one; a mask that
may be wrong is never made.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import ParamSpec, TypeVar, cast

from jinja2 import TemplateError
from tokenizers import Encoding
from transformers import PreTrainedTokenizerBase

from tower_rl.data.rows import DataError

Messages = Sequence[Mapping[str, str]]
P = ParamSpec("P")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Tokens:
    """A tokenized conversation or document."""

    token_ids: tuple[int, ...]
    """[N]"""
    trained: tuple[bool, ...]
    """[N] whether the token is learned (as a target); False at the first, which nothing predicts."""


class Unfit(DataError):
    """A conversation or document that cannot be trained on as it is."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        """A short class of reasons, by which rows are counted."""
        self.detail = detail
        """What is wrong with this one."""


def render(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> tuple[int, ...]:
    """Token ids of `messages` by the tokenizer's own chat template, with the generation prompt.

    Raises DataError when the template refuses the messages (some know no system role).
    """
    try:
        ids = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=True, tokenize=True, return_dict=False
        )
    except (TemplateError, ValueError) as error:
        raise DataError(f"the model's chat template refuses the messages: {error}") from error
    return tuple(ids)


def conversation(tokenizer: PreTrainedTokenizerBase, messages: Messages) -> Tokens:
    """A conversation of which the assistant's turns are learned, each with the token that ends it.

    The ids are those of `apply_chat_template(messages)`. Where a token joins the end of a header and the beginning of an answer,
    it is learned. Where the template refuses system messages, the system's text goes before the first user's, with an empty line
    between them.

    Raises Unfit, and DataError for a tokenizer that does not say where in the text its tokens stand.
    """
    return _only(conversations(tokenizer, [messages]))


def conversations(tokenizer: PreTrainedTokenizerBase, batch: Sequence[Messages]) -> list[Tokens | Unfit]:
    """`conversation` of each, tokenized in one call; in place of one that is refused stands why."""
    control = ControlTokens(tokenizer)
    return _each(batch, partial(_draft, tokenizer, control), partial(_encode, tokenizer, False), partial(_mask, control))


def transcripts(tokenizer: PreTrainedTokenizerBase, batch: Sequence[Messages]) -> list[Tokens | Unfit]:
    """The same token ids, but all are learned except the first."""
    control = ControlTokens(tokenizer)

    def draft(messages: Messages) -> _Draft:
        return _Draft(_accepted(tokenizer, control, messages)[1])

    return _each(batch, draft, partial(_encode, tokenizer, False), lambda _, encoding: _learned(encoding.ids))


def document(tokenizer: PreTrainedTokenizerBase, text: str) -> Tokens:
    """A text between the begin token, if the tokenizer sets one by itself, and the end token; all is learned but the first token.

    Raises Unfit, and DataError for a tokenizer without an end token.
    """
    return _only(documents(tokenizer, [text]))


def documents(tokenizer: PreTrainedTokenizerBase, batch: Sequence[str]) -> list[Tokens | Unfit]:
    """`document` of each, tokenized in one call; in place of one that is refused stands why."""
    control, end = ControlTokens(tokenizer), tokenizer.eos_token_id
    if end is None:
        raise DataError("the tokenizer names no end token, with which documents could end")

    def draft(text: str) -> _Draft:
        control.check(text)
        return _Draft(text)

    def finish(_: _Draft, encoding: Encoding) -> Tokens:
        ids = encoding.ids
        return _learned(ids if ids[-1:] == [end] else [*ids, end])

    return _each(batch, draft, partial(_encode, tokenizer, True), finish)


@dataclass(frozen=True, slots=True)
class _Draft:
    """A text to be tokenized."""

    text: str
    turns: tuple[tuple[int, str], ...] = ()
    """Where in the text each assistant's turn begins, and what it has to say."""


class ControlTokens:
    """The control tokens of a tokenizer."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        tokens = {id_: token.content for id_, token in tokenizer.added_tokens_decoder.items() if token.special}
        self.ids = frozenset(tokens) - {tokenizer.unk_token_id}
        """Their ids, but for the one that stands for any text outside the vocabulary."""
        self._pattern = re.compile("|".join(map(re.escape, tokens.values())) or "(?!)")

    def check(self, text: str) -> None:
        """Raises Unfit for a text that holds one: the tokenizer would not read it as the text that it is."""
        if found := self._pattern.search(text):
            raise Unfit("control token in the text", found.group())


def _draft(tokenizer: PreTrainedTokenizerBase, control: ControlTokens, messages: Messages) -> _Draft:
    if not messages or messages[0]["role"] == "assistant":
        raise Unfit("no question", "the conversation begins with the assistant" if messages else "it has no messages")
    messages, text = _accepted(tokenizer, control, messages)
    squeezed = _squeezed(text)
    turns = []
    for place, message in enumerate(messages):
        if message["role"] == "assistant":
            turns.append((_begin(tokenizer, messages, place, text), message["content"]))
        elif _squeezed(message["content"]) not in squeezed:
            raise Unfit("changed by the template", f"the text of message {place} ({message['role']}) is not as it was given")
    return _Draft(text, tuple(turns))


def _accepted(tokenizer: PreTrainedTokenizerBase, control: ControlTokens, messages: Messages) -> tuple[Messages, str]:
    """The messages, the system's folded into the user's where the template refuses it, and their text."""
    for message in messages:
        control.check(message["content"])
    try:
        return messages, _text(tokenizer, messages)
    except Unfit:
        if [message["role"] for message in messages[:2]] != ["system", "user"]:
            raise
    system, user, *rest = messages
    folded = [{"role": "user", "content": f"{system['content']}\n\n{user['content']}"}, *rest]
    return folded, _text(tokenizer, folded)


def _begin(tokenizer: PreTrainedTokenizerBase, messages: Messages, place: int, text: str) -> int:
    """Where in the whole text the turn begins that the model writes as message `place`."""
    before, content = messages[:place], messages[place]["content"].strip()
    header = _text(tokenizer, before, add_generation_prompt=True)
    if not text.startswith(header):
        raise Unfit("changed by the template", f"what stands before message {place} is not what the model is asked with")
    # A template may put something before the answer that the model is to write too (Qwen3: an empty thought). But if there is
    # no generation prompt, what stands there is the header.
    if not text[len(header) :].lstrip().startswith(content) and header == _text(tokenizer, before):
        raise Unfit("no generation prompt", f"so that the header of message {place} cannot be told from the answer")
    return len(header)


def _text(tokenizer: PreTrainedTokenizerBase, messages: Messages, *, add_generation_prompt: bool = False) -> str:
    try:
        text = tokenizer.apply_chat_template(
            [dict(message) for message in messages], add_generation_prompt=add_generation_prompt, tokenize=False
        )
        return cast(str, text)
    except (TemplateError, ValueError) as error:
        raise Unfit("refused by the template", str(error)) from error


def _mask(control: ControlTokens, draft: _Draft, encoding: Encoding) -> Tokens:
    ids, offsets = encoding.ids, encoding.offsets
    trained = [False] * len(ids)
    for begin, content in draft.turns:
        first = bisect_right(offsets, begin, key=lambda span: span[1])  # the first token that reaches beyond `begin`
        if first < len(ids) and offsets[first][0] < begin and ids[first] in control.ids:
            first += 1  # a control token that swallows the white space behind it
        last = next((place for place in range(first, len(ids)) if ids[place] in control.ids), None)
        if last is None or trained[first]:  # the second: the turn before has no end of its own
            raise Unfit("no end of turn", "the template ends the assistant's turn with no control token")
        if not _squeezed(draft.text[begin : offsets[last][0]]).endswith(_squeezed(content)):
            raise Unfit("changed by the template", f"the assistant's turn is not as it was given: {content[:80]!r}")
        trained[first : last + 1] = [True] * (last + 1 - first)
    return Tokens(tuple(ids), (False, *trained[1:]))


def _learned(ids: Sequence[int]) -> Tokens:
    return Tokens(tuple(ids), tuple(place > 0 for place in range(len(ids))))


def _squeezed(text: str) -> str:
    """The text without white space, which templates may trim."""
    return "".join(text.split())


def _encode(tokenizer: PreTrainedTokenizerBase, add_special_tokens: bool, texts: list[str]) -> list[Encoding]:
    if not tokenizer.is_fast:
        raise DataError("the tokenizer does not say where its tokens stand in the text; the model needs a tokenizer.json")
    encoded = tokenizer(
        texts, add_special_tokens=add_special_tokens, return_attention_mask=False, return_token_type_ids=False, verbose=False
    )
    return list(encoded.encodings)


def _each(
    batch: Sequence[T],
    draft: Callable[[T], _Draft],
    encode: Callable[[list[str]], list[Encoding]],
    finish: Callable[[_Draft, Encoding], Tokens],
) -> list[Tokens | Unfit]:
    drafts = [_attempt(draft, item) for item in batch]
    texts = [made.text for made in drafts if isinstance(made, _Draft)]
    encodings = iter(encode(texts) if texts else [])
    return [made if isinstance(made, Unfit) else _attempt(finish, made, next(encodings)) for made in drafts]


def _attempt(step: Callable[P, T], *arguments: P.args, **options: P.kwargs) -> T | Unfit:
    """What the step makes, or why it does not, so that one of a batch does not stop the others."""
    try:
        return step(*arguments, **options)
    except Unfit as error:
        return error


def _only(made: list[Tokens | Unfit]) -> Tokens:
    (one,) = made
    if isinstance(one, Unfit):
        raise one
    return one
