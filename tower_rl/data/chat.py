"""Chat messages to token ids, in one place and once per prompt."""

from collections.abc import Mapping, Sequence

from jinja2 import TemplateError
from transformers import PreTrainedTokenizerBase

from tower_rl.data.rows import DataError


def render(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Mapping[str, str]]) -> tuple[int, ...]:
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
