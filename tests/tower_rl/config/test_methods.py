"""The tables of methods against verl's source, and the rules that follow from them."""

import ast
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pytest

from tower_rl.config.methods import ADVANTAGES, LOSSES, REFUSED_ADVANTAGES, REFUSED_LOSSES
from tower_rl.config.stages import LossOptions

Problems = Callable[..., list[str]]


@pytest.mark.parametrize("name", ADVANTAGES)
def test_groups_of_one(problems: Problems, good: str, name: str) -> None:
    more = ", reward_parts: {a: 1}" if name == "gdpo" else ""
    found = problems(
        f"{good[: good.index('stages:')]}stages: [{{name: learn, kind: rlvr, steps: 1, advantage: {name}{more}}}]\n"
        "rollout:\n  group_size: 1\n"
    )
    message = f"must be at least 2, not 1: the advantage {name} of stage learn compares rollouts of one prompt"
    assert [line.partition("rollout.group_size: ")[2] for line in found] == [message] * (name != "reinforce_plus_plus")


@pytest.mark.parametrize(
    ("key", "name", "reason"),
    [
        ("advantage", "gae", "comes with a later release: it needs the values of a critic"),
        ("advantage", "remax", "comes with a later release: it needs the rewards of greedy baselines"),
        ("advantage", "gripo", "unknown advantage"),
        ("loss", "bypass_mode", "it is rollout correction around vanilla or plain REINFORCE, no loss of its own"),
        ("loss", "vanila", "unknown loss"),
    ],
)
def test_methods_that_are_not_there(problems: Problems, good: str, key: str, name: str, reason: str) -> None:
    (line,) = problems(good + f"    {key}: {name}\n")
    assert line.startswith(f"x.yaml:19: stages.0.{key}: '{name}': {reason}; allowed: ")
    assert all(known in line for known in {"advantage": ADVANTAGES, "loss": LOSSES}[key])


@pytest.mark.parametrize(
    ("keys", "found"),
    [
        ("advantage: rloo\nnormalize_by_std: false",
         "normalize_by_std: means nothing to the advantage rloo; it is for gdpo, grpo, grpo_passk, grpo_vectorized"),
        ("gamma: 0.9", "gamma: means nothing to the advantage grpo; it is for reinforce_plus_plus"),
        ("reward_parts: {a: 1}", "reward_parts: means nothing to the advantage grpo; it is for gdpo"),
        ("advantage: gdpo", "reward_parts: must name parts of verdicts for gdpo, which normalises each for itself"),
        ("loss: gpg\nclip_high: 0.3", "clip_high: means nothing to the loss gpg, which does not clip ratios"),
        ("loss: gspo\nloss_options: {clip_ratio_c: 10}",
         "loss_options.clip_ratio_c: means nothing to the loss gspo; it is for dppo_kl, dppo_tv, vanilla"),
        ("loss_options: {tau_pos: 2}", "loss_options.tau_pos: means nothing to the loss vanilla; it is for sapo"),
        ("loss: dro", "loss_options.dro_beta: must be given for the loss dro"),
        ("loss: sapo", "aggregation: must be seq-mean-token-mean for the loss sapo, which knows no other"),
        ("aggregation: seq-mean-token-sum-norm", "length_divisor: must be given for the aggregation seq-mean-token-sum-norm"),
        ("length_divisor: 64", "length_divisor: means nothing without the aggregation seq-mean-token-sum-norm"),
        ("kl_estimator: k1",
         "kl_estimator: k1 has an expected gradient of zero as a loss; take k1+, k2, k3 or k3+, or kl_in: reward"),
        ("kl_in: reward\nkl_estimator: k3+",
         "kl_estimator: k3+ differs in its gradient, and a reward has none; drop the +"),
        ("advantage: gdpo\nreward_parts: {a: 1}\nkl_in: reward",
         "kl_in: must be loss for gdpo, which sees the rewards of `reward_parts` only"),
    ],
)  # fmt: skip
def test_options_that_a_method_does_not_heed(problems: Problems, good: str, keys: str, found: str) -> None:
    (line,) = problems(good + "".join(f"    {key}\n" for key in keys.split("\n")))
    assert line.partition("stages.0.")[2] == found


@pytest.mark.parametrize(
    "keys",
    [
        "advantage: reinforce_plus_plus\ngamma: 0.99\nkl_in: reward\nkl_estimator: k1\nkl_coefficient: 0.01",
        "advantage: gdpo\nreward_parts: {a: 2, b/c: 1}\nnormalize_by_std: false",
        "loss: dro\nloss_options: {dro_beta: 0.5}",
        "loss: sapo\naggregation: seq-mean-token-mean\nloss_options: {tau_neg: 2}",
        "loss: gspo\naggregation: seq-mean-token-mean\nclip_low: 3e-4\nclip_high: 4e-4",
        "aggregation: seq-mean-token-sum-norm\nlength_divisor: 64\nloss_options: {clip_ratio_c: 10}",
        "kl_estimator: k1+",
    ],
)
def test_options_that_a_method_heeds(problems: Problems, good: str, keys: str) -> None:
    assert problems(good + "".join(f"    {key}\n" for key in keys.split("\n"))) == []


# --- verl's names and defaults, read and not imported: the import takes half a minute


def parsed(file: str) -> ast.Module:
    package = find_spec("verl")
    assert package and package.origin
    return ast.parse((Path(package.origin).parent / file).read_text())


def test_every_advantage_of_verl_is_allowed_or_refused_with_a_reason() -> None:
    source = parsed("trainer/ppo/core_algos.py")
    (enum,) = [node for node in source.body if isinstance(node, ast.ClassDef) and node.name == "AdvantageEstimator"]
    names = {ast.literal_eval(node.value) for node in enum.body if isinstance(node, ast.Assign)}
    assert names == {*ADVANTAGES, *REFUSED_ADVANTAGES}


def test_every_loss_of_verl_is_allowed_or_refused_with_a_reason() -> None:
    names = {
        ast.literal_eval(decorator.args[0])
        for node in parsed("trainer/ppo/core_algos.py").body
        if isinstance(node, ast.FunctionDef)
        for decorator in node.decorator_list
        if isinstance(decorator, ast.Call) and ast.unparse(decorator.func) == "register_policy_loss"
    }
    assert names == {*LOSSES, *REFUSED_LOSSES}


def test_constants_of_losses_have_the_defaults_of_verl() -> None:
    classes = [node for node in parsed("workers/config/actor.py").body if isinstance(node, ast.ClassDef)]
    defaults = {
        ast.unparse(node.target): ast.unparse(node.value)
        for found in classes
        if found.name in ("ActorConfig", "PolicyLossConfig")
        for node in found.body
        if isinstance(node, ast.AnnAssign) and node.value
    }
    assert {name: str(value) for name, value in LossOptions()} == {name: defaults[name] for name in LossOptions.model_fields}


@pytest.mark.parametrize(
    ("more", "problem"),
    [
        ("correction: {weights: none, truncate: 3}", "truncate: means nothing with weights: none"),
        (
            "loss: geo_mean\n    aggregation: seq-mean-token-mean\n    correction: {reject: {ratio: token}}",
            "reject.ratio: must be sequence or geometric for the loss geo_mean, whose ratio is that of a whole response",
        ),
    ],
)
def test_corrections_that_would_do_nothing(problems: Problems, good: str, more: str, problem: str) -> None:
    (line,) = problems(good + f"    {more}\n")
    assert line.endswith(f"stages.0.correction.{problem}")
