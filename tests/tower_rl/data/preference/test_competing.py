"""Sampled and given answers in one group, scored or as the data score them."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
from chat_families import family
from preference_rows import prompt

from tower_rl.data.chat import render
from tower_rl.data.preference.competing import Competing
from tower_rl.data.rows import Answer
from tower_rl.types import Group, Rollout, ScoredGroup, StopReason
from verifiers.types import invalid, scored

TOKENIZER = family("qwen3")
TOKENS = render(TOKENIZER, prompt().messages)


class Counting:
    """Samples answers 0, 1, ... to the prompts, the last prompt first."""

    async def generate(self, prompts, samples):
        for each in reversed(prompts):
            yield Group(each, tuple(rollout(f"{each.id} says {k}") for k in range(samples)))


class Judging:
    """The longer the answer, the better; part of the verdict is whether it names the prompt. Some it cannot judge."""

    def __init__(self):
        self.asked = []

    async def verify(self, group):
        self.asked.append((group.prompt.id, [one.text for one in group.rollouts]))
        verdicts = (
            invalid("no idea", verifier="length")
            if "?" in one.text
            else scored(min(1.0, len(one.text) / 20), parts={"named": float(group.prompt.id in one.text)}, verifier="length")
            for one in group.rollouts
        )
        return ScoredGroup(group.prompt, group.rollouts, tuple(verdicts))


def rollout(text):
    ids = np.array([*range(5, 5 + len(text)), 2])
    return Rollout(ids, np.zeros(len(ids), np.float32), text, StopReason.STOP, np.full(len(ids), 3))


def asked(name, verifier="length"):
    return replace(prompt(name, verifier=verifier), token_ids=TOKENS)


def compete(prompts, answers, samples=2, generator=Counting):
    """Groups as they were generated; candidates by prompt; rejects; and what the verifiers were asked."""
    judging = Judging()
    competing = Competing(generator and generator(), judging, TOKENIZER, answers)

    async def whole():
        groups = [group async for group in competing.generate(prompts, samples)]
        return groups, [await competing.verify(group) for group in groups]

    groups, verdicts = asyncio.run(whole())
    listed, rejects = competing.candidates(verdicts)
    return groups, {each.prompt.id: each.candidates for each in listed}, rejects, judging.asked


def test_sampled_and_given_answers_are_one_group() -> None:
    answers = {"s/1": [Answer("given to s/1", "machine", 0.25), Answer("good", "post_edit", None)]}
    groups, found, rejects, judged = compete([asked("s/1"), asked("s/2")], answers)
    assert [group.prompt.id for group in groups] == ["s/2", "s/1"] and rejects == []
    assert judged == [("s/2", ["s/2 says 0", "s/2 says 1"]), ("s/1", ["s/1 says 0", "s/1 says 1", "given to s/1", "good"])]
    assert [one.origin for one in found["s/1"]] == ["policy@3", "policy@3", "machine", "post_edit"]
    assert [one.origin for one in found["s/2"]] == ["policy@3", "policy@3"]
    assert [one.score for one in found["s/1"]] == [0.5, 0.5, 0.6, 0.2]
    for one, own in zip(found["s/1"], groups[1].rollouts, strict=True):
        assert one.token_ids == tuple(own.token_ids.tolist()) and one.text == own.text
    given = found["s/1"][2]
    chat = [*prompt().messages, {"role": "assistant", "content": "given to s/1"}]
    assert TOKENIZER.decode([*TOKENS, *given.token_ids]) == TOKENIZER.apply_chat_template(chat, tokenize=False).rstrip()


def test_scores_of_the_whole_and_of_its_parts_stand_by_the_verifiers_name() -> None:
    _, found, _, _ = compete([asked("s/1")], {"s/1": [Answer("given to s/1", "machine", 0.25)]}, samples=1)
    own, given = found["s/1"]
    assert own.scores == {"length": 0.5, "length/named": 1.0}
    assert given.scores == {"given": 0.25, "length": 0.6, "length/named": 1.0} and given.score == 0.6 and given.reason == ""


def test_an_answer_that_the_verifier_cannot_judge_has_no_score_that_counts() -> None:
    _, found, _, _ = compete([asked("s/1")], {"s/1": [Answer("what?", "machine", 0.25)]}, samples=0)
    (given,) = found["s/1"]
    assert (given.score, given.reason, given.scores) == (None, "no idea", {"given": 0.25})


def test_without_a_verifier_the_scores_of_the_data_count() -> None:
    answers = {"s/1": [Answer("rated", "machine", 0.25), Answer("unrated", "post_edit", None)]}
    _, found, _, judged = compete([asked("s/1", verifier="")], answers, samples=1)
    assert judged == []
    assert [(one.origin, one.score, one.scores, one.reason) for one in found["s/1"]] == [
        ("policy@3", None, {}, "not scored"),
        ("machine", 0.25, {"given": 0.25}, ""),
        ("post_edit", None, {}, "not scored"),
    ]


@pytest.mark.parametrize("verifier", ["length", ""])
def test_nobody_samples(verifier: str) -> None:
    answers = {"s/1": [Answer("one", "machine", 0.5), Answer("another", "post_edit", 1.0)]}
    groups, found, rejects, judged = compete([asked("s/1", verifier), asked("s/2", verifier)], answers, generator=None)
    assert [(group.prompt.id, len(group.rollouts)) for group in groups] == [("s/1", 2), ("s/2", 0)] and rejects == []
    assert judged == ([("s/1", ["one", "another"])] if verifier else [])
    assert [one.score for one in found["s/1"]] == ([0.15, 0.35] if verifier else [0.5, 1.0])
    assert found["s/2"] == ()


def test_a_given_answer_that_the_model_cannot_give_is_a_reject() -> None:
    answers = {"s/1": [Answer("a<|im_end|>b", "machine", 1.0), Answer("fine", "post_edit", None)]}
    groups, found, (reject,), judged = compete([asked("s/1"), asked("s/2")], answers, samples=1)
    assert (reject.source, reject.place, reject.reason) == ("s", "s/1", "answer: control token in the text")
    assert [one.text for one in found["s/1"]] == ["s/1 says 0", "fine"] and len(groups[1].rollouts) == 2
    assert judged[1] == ("s/1", ["s/1 says 0", "fine"])


def test_the_next_prompts_know_nothing_of_those_before() -> None:
    competing = Competing(None, Judging(), TOKENIZER, {"s/1": [Answer("a<|im_end|>b", "machine", 1.0)]})

    async def candidates(name):
        return competing.candidates([await competing.verify(g) async for g in competing.generate([asked(name)], 0)])

    assert len(asyncio.run(candidates("s/1"))[1]) == 1
    (nothing,), rejects = asyncio.run(candidates("s/2"))
    assert (nothing.prompt.id, nothing.candidates, rejects) == ("s/2", (), [])
