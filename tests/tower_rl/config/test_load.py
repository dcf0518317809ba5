"""load: files, extends, overrides, speed."""

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tower_rl.config.load import REPOSITORY, ConfigError, load

ROOT = Path(__file__).parents[3]
Problems = Callable[..., list[str]]
Changed = Callable[[str, str], str]


def write(text: str, name: str = "x.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


# --- what is read


def test_a_good_file_loads_with_defaults(good: str) -> None:
    config = load(write(good))
    assert config.run.name == "demo"
    assert config.rollout.group_size == 8
    assert config.stages[0].steps == 2


def test_scalars_are_yaml_1_2(changed: Changed) -> None:
    options = (
        "{lr: 1e-6, norwegian: no, on: yes, date: 2024-01-01, grouped: 1_000, octal: 0o17, text: '5', none: , tagged: !!str 5}"
    )
    config = load(write(changed("use: math", f"use: math\n    options: {options}")))
    assert config.verifiers["math"].options == {  # type: ignore[union-attr]
        "lr": 1e-6,
        "norwegian": "no",
        "on": "yes",
        "date": "2024-01-01",
        "grouped": "1_000",
        "octal": 15,
        "text": "5",
        "none": None,
        "tagged": "5",
    }


def test_a_whole_number_may_stand_for_a_number_but_nothing_else_is_converted(problems: Problems, good: str) -> None:
    assert load(write(good + "policy: {learning_rate: 1, betas: [0, 0.95]}\n")).policy.betas == (0, 0.95)
    assert problems(good + "rollout: {group_size: 8.0}\n") == ["x.yaml:19: rollout.group_size: must be a whole number, not 8.0"]


def test_a_byte_order_mark_is_no_part_of_the_first_key(good: str) -> None:
    assert load(write("\ufeff" + good)).run.name == "demo"


def test_extends_merges_mappings_and_replaces_lists(good: str) -> None:
    Path("base").mkdir()
    write(good + "rollout: {group_size: 4, engines: 2}\n", "base/base.yaml")
    write("extends: base/base.yaml\nrollout: {engines: 3}\n", "middle.yaml")
    config = load(write("extends: middle.yaml\nstages: [{name: other, kind: rlvr, steps: 7}]\n"))
    assert (config.rollout.group_size, config.rollout.engines) == (4, 3)
    assert [stage.name for stage in config.stages] == ["other"]


def test_null_takes_an_entry_out_of_the_extended_file(good: str, problems: Problems) -> None:
    """Else own data could only be added to those of a preset. A section that is left empty is a slip."""
    write(good.replace("  sources:", "  weights: {sums: 2}\n  sources:") + "policy: {lora: {rank: 4}}\n", "base.yaml")
    own = "extends: base.yaml\ndata:\n  sources:\n    sums: null\n    mine: {kind: jsonl, path: x.jsonl, verifier: math}\n"
    config = load(write(own + "  weights: {sums: null, mine: 3}\npolicy: {lora: null}\n"))
    assert list(config.data.sources) == ["mine"] and config.data.weights == {"mine": 3.0} and config.policy.lora is None
    assert problems("extends: base.yaml\npolicy:\n  # nothing yet\n") == ["x.yaml:2: policy: must be a mapping, not null"]


def test_an_override_replaces_a_mapping(good: str) -> None:
    """What was there would be trained on, too."""
    config = load(write(good), ["data.sources={mine: {kind: jsonl, path: x.jsonl, verifier: math}}"])
    assert list(config.data.sources) == ["mine"]


def test_overrides_are_typed_and_reach_into_lists(good: str) -> None:
    overrides = (
        "stages.0.steps=5",
        "policy.learning_rate=1e-5",
        "data.system_prompt='a: b'",
        "policy.betas=[0.9, 0.95]",
        "data.weights={sums: 2}",
        "run.name=no",
    )
    config = load(write(good), overrides)
    assert config.stages[0].steps == 5
    assert config.policy.learning_rate == 1e-5
    assert config.data.system_prompt == "a: b"
    assert config.policy.betas == (0.9, 0.95)
    assert config.data.weights == {"sums": 2.0}
    assert config.run.name == "no"


def test_all_configs_of_the_repository_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.chdir(ROOT)
    files = sorted((ROOT / "configs").rglob("*.yaml"))
    assert files
    for file in files:
        load(file)


# --- files


def test_missing_file() -> None:
    with pytest.raises(ConfigError) as error:
        load("configs/none.yaml")
    assert str(error.value) == f"configs/none.yaml: no such file, neither in {Path.cwd()} nor in {ROOT}"
    with pytest.raises(ConfigError, match=r"\A/none\.yaml: no such file\Z"):
        load("/none.yaml")


def test_files_of_the_repository_from_anywhere(good: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert (REPOSITORY / "configs" / "demo.yaml").is_file()
    monkeypatch.setattr("tower_rl.config.load.REPOSITORY", Path("repository").absolute())
    Path("repository/configs").mkdir(parents=True)
    Path("repository/base.yaml").write_text(good)
    Path("repository/configs/x.yaml").write_text("extends: ../base.yaml\nrun: {name: theirs}\n")
    assert load("configs/x.yaml").run.name == "theirs"
    Path("configs").mkdir()
    Path("configs/x.yaml").write_text(good.replace("name: demo", "name: mine"))
    assert load("configs/x.yaml").run.name == "mine", "the working directory comes first"


def test_folder_for_a_file() -> None:
    Path("configs").mkdir()
    with pytest.raises(ConfigError, match=r"\Aconfigs: is a folder, not a file\Z"):
        load("configs")


def test_file_below_a_file(good: str) -> None:
    write(good)
    with pytest.raises(ConfigError, match=r"/x\.yaml/y\.yaml: cannot be read: Not a directory\Z"):
        load(Path("x.yaml/y.yaml").absolute())


def test_file_that_is_not_utf8() -> None:
    Path("x.yaml").write_bytes("run: {name: é}".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"\Ax\.yaml: is not UTF-8 text: invalid continuation byte at byte 12\Z"):
        load("x.yaml")


@pytest.mark.parametrize("text", ["", "\n", "# only a comment\n"])
def test_empty_file(problems: Problems, text: str) -> None:
    assert problems(text) == ["x.yaml: is empty"]


def test_list_or_scalar_at_the_top(problems: Problems) -> None:
    assert problems("# runs\n- run\n") == ["x.yaml:2: must be a mapping of keys at the top, not a list"]
    assert problems("run\n") == ["x.yaml:1: must be a mapping of keys at the top, not 'run'"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("run: a\nmodel: b: c\n", "x.yaml:2: not valid YAML: mapping values are not allowed here"),
        ("run:\n\tname: a\n", "x.yaml:2: not valid YAML: found character '\\t' that cannot start any token"),
        ("run: a\n---\nrun: b\n", "x.yaml:2: not valid YAML: but found another document"),
        ("run: a\nmodel: \x01\n", "x.yaml:2: not valid YAML: the character U+0001 is not allowed"),
        ("run: *a\n", "x.yaml:1: not valid YAML: found undefined alias 'a'"),
    ],
)
def test_text_that_is_not_yaml(problems: Problems, text: str, problem: str) -> None:
    assert problems(text) == [problem]


def test_alias_to_itself_and_foreign_tags(problems: Problems, changed: Changed) -> None:
    options = "\n    options:\n      loop: &loop [*loop]\n      made: !!python/name:os.system\n      pair: !pair {}"
    assert problems(changed("use: math", f"use: math{options}")) == [
        "x.yaml:16: verifiers.math.options.loop.0: an alias must not refer to what it stands in",
        "x.yaml:17: verifiers.math.options.made: the tag !!python/name:os.system is not supported",
        "x.yaml:18: verifiers.math.options.pair: the tag !pair is not supported",
    ]


# --- extends


def test_problems_name_the_file_in_which_the_value_stands(problems: Problems, good: str) -> None:
    write(good + "rollout:\n  group_size: eight\n  engines: none\n", "base.yaml")
    assert problems("extends: base.yaml\nrollout:\n  engines: 2\n  temprature: 1\n") == [
        "base.yaml:20: rollout.group_size: must be a whole number, not 'eight'",
        "x.yaml:4: rollout.temprature: unknown key; did you mean temperature?",
    ]


def test_extends_a_missing_file(problems: Problems) -> None:
    assert problems("run: {name: a, dir: b}\nextends: base/none.yaml\n") == ["x.yaml:2: extends: no such file: base/none.yaml"]


def test_extends_in_a_circle(problems: Problems) -> None:
    write("run: {name: a}\nextends: x.yaml\n", "y.yaml")
    assert problems("extends: y.yaml\n") == ["y.yaml:2: extends: forms a cycle: x.yaml -> y.yaml -> x.yaml"]
    assert problems("extends: x.yaml\n") == ["x.yaml:1: extends: forms a cycle: x.yaml -> x.yaml"]


def test_extends_something_else_than_a_name(problems: Problems) -> None:
    assert problems("extends: [a.yaml, b.yaml]\n") == ["x.yaml:1: extends: must be the name of a file, not a list"]


# --- overrides


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("rollout.group_size=x", "rollout.group_size: must be a whole number, not 'x'"),
        ("rollout.group_sise=4", "rollout.group_sise: unknown key; did you mean group_size?"),
        ("model.path.folder=x", "model.path: must be text, not a mapping"),
        ("stages.first.steps=5", "stages.first.steps: there is no entry first; the list has 1, counted from 0"),
        ("stages.1.steps=5", "stages.1.steps: there is no entry 1; the list has 1, counted from 0"),
        ("run.name=", "run.name: must be text, not null"),
        ("run.name=[", "run.name: not valid YAML: expected the node content, but found '<stream end>'"),
        ("data.system_prompt=a: b", "data.system_prompt: put text in quotes, a list in [ ] and a mapping in { }"),
        ("rollout.group_size", "must be key.path=value"),
        ("=4", "must be key.path=value"),
    ],
)
def test_bad_override(problems: Problems, good: str, override: str, problem: str) -> None:
    assert problems(good, override) == [f"override {override}: {problem}"]


def test_problems_of_files_and_overrides_come_together(problems: Problems, good: str) -> None:
    assert problems(good + "reference: {workers: 0}\n", "rollout.engines=0", "nonsense") == [
        "override nonsense: must be key.path=value",
        "override rollout.engines=0: rollout.engines: must be greater than 0, not 0",
        "x.yaml:19: reference.workers: must be greater than 0, not 0",
    ]


# --- speed


def test_an_error_comes_fast_and_without_heavy_imports(good: str) -> None:
    code = (
        "import sys\n"
        "from tower_rl.config.load import REPOSITORY, ConfigError, load\n"
        "try: load('x.yaml')\n"
        "except ConfigError as error: print(error)\n"
        "print(sorted({'torch', 'ray', 'transformers', 'vllm', 'verl', 'numpy'} & set(sys.modules)))\n"
    )
    write(good + "rollout: {group_sise: 4}\n")
    start = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, env={"PYTHONPATH": str(ROOT)}
    )
    seconds = time.monotonic() - start
    assert result.stdout.splitlines() == [
        "x.yaml:19: rollout.group_sise: unknown key; did you mean group_size?",
        "[]",
    ], result.stderr
    assert seconds < 5  # under one second alone; the cores may be shared
