"""Rules of stages of kind preference: each through `load`, with the exact line."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import pytest

from tower_rl.config.stages import PairSelection, PreferenceStage
from tower_rl.data.preference.selection import RULES

Problems = Callable[..., list[str]]

SUMS = "    sums: {kind: reasoning_gym, task: chain_sum, verifier: math}\n"
MATH = "verifiers: {math: {use: math}}\n"


@pytest.fixture
def preferring() -> str:
    """A good configuration of 17 lines; what is added goes into its stage."""
    return (Path(__file__).parent / "preference.yaml").read_text(encoding="utf-8")


def test_neither_verifiers_nor_group_are_needed_for_given_answers(problems: Problems, preferring: str) -> None:
    assert problems(preferring) == []
    assert problems(preferring + "    answers: given\n", "rollout.group_size=1") == []


@pytest.mark.parametrize(
    "stage",
    [
        "    steps_per_round: 1\n",
        "    loss: simpo\n    margin: 1\n    label_smoothing: 0.1\n    weighting: {}\n",
        "    loss: ipo\n    weighting: {alignment: none, clamp: false}\n",
        "    loss: orpo\n    nll_weight: 1\n",
        "    loss: kto\n    pairs_per_step: 2\n",
        "    answers: both\n    selection: {rule: ranked, order: [post_edit, policy]}\n",
    ],
)
def test_stages_that_are_right(problems: Problems, preferring: str, stage: str) -> None:
    assert problems(preferring + stage) == []


def test_a_micro_batch_too_small_for_a_pair(problems: Problems, preferring: str) -> None:
    text = preferring.replace("2048", "1023")
    assert problems(text) == [
        "x.yaml:12: policy.tokens_per_micro_batch: must be at least twice stages.0.selection.max_tokens = 1024, not 1023"
    ]
    assert problems(text + "    selection: {max_tokens: 511}\n") == []
    # A prompt with a sample of its own may be longer: it becomes part of no pair.
    assert problems(preferring + "rollout: {max_new_tokens: 4000}\n") == []


def test_prompts_come_from_sources(problems: Problems, preferring: str) -> None:
    source = "  sources:\n    rated:\n      kind: answers\n      path: rated.jsonl\n"
    assert problems(preferring.replace(source, "  sources: {}\n")) == [
        "x.yaml:7: data.sources: must not be empty: stage prefer takes its prompts from there"
    ]


def test_adapters_train_preferences(problems: Problems, preferring: str) -> None:
    assert problems(preferring.replace("policy:\n", "policy:\n  lora: {rank: 8}\n")) == []


@pytest.mark.parametrize(
    ("loss", "line", "key", "message"),
    [
        ("ipo", "label_smoothing: 0.1", "label_smoothing", "means nothing to the loss ipo; it is for dpo, dpo_norm, simpo"),
        ("kto", "margin: 0.1", "margin", "means nothing to the loss kto; it is for dpo, dpo_norm, simpo"),
        ("dpo_norm", "weighting: {}", "weighting", "means nothing to the loss dpo_norm; it is for dpo, ipo, simpo"),
        ("orpo", "nll_weight: 0", "nll_weight", "must be above 0 for orpo, whose other term alone teaches no answers"),
        (
            "kto",
            "pairs_per_step: 1",
            "pairs_per_step",
            "must be at least 2, not 1: kto puts a prompt to the answer of another pair",
        ),
    ],
)
def test_options_that_a_loss_does_not_heed(
    problems: Problems, preferring: str, loss: str, line: str, key: str, message: str
) -> None:
    assert problems(preferring + f"    loss: {loss}\n    {line}\n") == [f"x.yaml:19: stages.0.{key}: {message}"]


def test_an_order_goes_with_the_rule_ranked(problems: Problems, preferring: str) -> None:
    assert problems(preferring + "    selection:\n      rule: ranked\n") == [
        "x.yaml:18: stages.0.selection.order: must name origins for the rule ranked"
    ]
    assert problems(preferring + "    selection:\n      order: [post_edit]\n") == [
        "x.yaml:19: stages.0.selection.order: means nothing to the rule best_worst"
    ]


def test_two_answers_at_least(problems: Problems, preferring: str) -> None:
    text = preferring + "    answers: sampled\nrollout:\n  group_size: 1\n"
    line = "x.yaml:20: rollout.group_size: must be at least 2, not 1: answers of stage prefer compete"
    assert problems(text) == [line]
    assert problems(text.replace("sampled", "both")) == problems(text.replace("sampled", "given")) == []


@pytest.mark.parametrize("answers", ["given", "both"])
def test_sources_that_give_no_answers(problems: Problems, preferring: str, answers: str) -> None:
    text = preferring.replace("policy:\n", f"{SUMS}policy:\n") + f"    answers: {answers}\n{MATH}"
    assert problems(text) == [
        "x.yaml:19: stages.0.answers: sums of data.sources gives no answers; sources of kind answers or catalogue do"
    ]
    assert problems(text.replace(answers, "sampled")) == []
    assert problems(text.replace(SUMS, "    po: {kind: catalogue, languages: [de], verifier: math}\n")) == []


def test_an_evaluation_panel_needs_engines(problems: Problems, preferring: str) -> None:
    text = preferring + "    answers: given\nevaluation:\n  prompts: 8\n"
    assert problems(text) == [
        "x.yaml:20: evaluation.prompts: must be 0: stage prefer takes all answers as given and starts no engine"
    ]
    assert problems(text.replace("given", "both")) == []


def test_answers_are_not_for_rlvr(problems: Problems, good: str) -> None:
    text = good.replace("verifiers:\n", "    rated:\n      kind: answers\n      path: rated.jsonl\nverifiers:\n")
    assert problems(text) == ["x.yaml:13: data.sources.rated.kind: answers are for stages of kind preference; rlvr takes jsonl"]


def test_a_verifier_of_given_answers_is_known(problems: Problems, preferring: str) -> None:
    assert problems(preferring.replace("rated.jsonl\n", "rated.jsonl\n      verifier: math\n")) == [
        "x.yaml:11: data.sources.rated.verifier: no entry 'math' among verifiers; known: none"
    ]


def test_every_rule_of_selection_can_be_configured() -> None:
    assert set(get_args(PairSelection.model_fields["rule"].annotation)) == set(RULES)
    assert PreferenceStage.model_fields["selection"].default == PairSelection()


@pytest.mark.parametrize(("answers", "origin"), [("given", "policy"), ("sampled", "human")])
def test_origins_that_there_are_not(problems: Problems, preferring: str, answers: str, origin: str) -> None:
    found = problems(preferring + f"    answers: {answers}\n    selection: {{rejected_from: [{origin}]}}\n")
    assert any(f"rejected_from.0: there is no answer of origin '{origin}' with answers: {answers}" in line for line in found)
