"""Given answers as tokens: behind the prompt's own, up to the end of the turn."""

import pytest
from chat_families import family
from preference_rows import prompt as plain_prompt

from tower_rl.data.chat import render
from tower_rl.data.preference.encode import encode
from tower_rl.data.rows import Answer
from tower_rl.types import Prompt

END = {"qwen3": "<|im_end|>", "gemma2": "<end_of_turn>", "llama3": "<|eot_id|>"}
QUESTION = {"role": "user", "content": "What is the capital of France?"}
CHATS = [[QUESTION], [QUESTION, {"role": "assistant", "content": "Paris."}, {"role": "user", "content": "And of Peru?"}]]


def of(tokenizer, messages) -> Prompt:
    made = plain_prompt()
    return Prompt(
        **{name: getattr(made, name) for name in made.__slots__}
        | {"messages": tuple(messages), "token_ids": render(tokenizer, messages)}
    )


@pytest.mark.parametrize("name", END)
@pytest.mark.parametrize("messages", CHATS)
def test_prompt_and_answer_are_the_conversation(name, messages) -> None:
    tokenizer = family(name)
    prompt = of(tokenizer, messages)
    answers = [Answer("Lima 这.", "model:x", 0.5), Answer("Ich weiß es nicht.", "post_edit", None)]
    found, rejects = encode(tokenizer, prompt, answers)
    assert rejects == []
    for one, answer in zip(found, answers, strict=True):
        whole = tokenizer.decode([*prompt.token_ids, *one.token_ids])
        chat = [*messages, {"role": "assistant", "content": answer.text}]
        assert tokenizer.apply_chat_template(chat, tokenize=False).rstrip() == whole
        assert whole.endswith(answer.text + END[name])
        assert (one.text, one.origin, one.score) == (answer.text, answer.origin, answer.score)
    assert [one.scores for one in found] == [{"given": 0.5}, {}]
    assert [one.reason for one in found] == ["", "not scored"]


def test_an_answer_that_the_model_cannot_give_is_refused() -> None:
    tokenizer = family("qwen3")
    found, (reject,) = encode(tokenizer, of(tokenizer, CHATS[0]), [Answer("a<|im_end|>b", "machine", 1.0), Answer("b", "x", 0.0)])
    assert [one.text for one in found] == ["b"]
    assert (reject.place, reject.reason) == ("s/1", "answer: control token in the text")
    assert reject.detail == "machine: <|im_end|>"


def test_an_answer_that_does_not_stand_behind_the_prompt_is_refused() -> None:
    tokenizer = family("qwen3")
    prompt = of(tokenizer, CHATS[0])
    other = of(tokenizer, CHATS[1])
    mixed = Prompt(**{name: getattr(prompt, name) for name in prompt.__slots__} | {"token_ids": other.token_ids})
    found, (reject,) = encode(tokenizer, mixed, [Answer("b", "x", 0.0)])
    assert found == [] and reject.reason == "answer: joined to the prompt"


def test_no_answers() -> None:
    tokenizer = family("qwen3")
    assert encode(tokenizer, of(tokenizer, CHATS[0]), []) == ([], [])
