"""Which groups teach, and which prompts rest."""

import json
from dataclasses import replace

import pytest
from helpers import prompt, rollout

from tower_rl.config.sampling import Difficulty, DynamicSampling, Overlong
from tower_rl.config.stages import RlvrStage
from tower_rl.difficulty import History, Record, teaches
from tower_rl.types import ScoredGroup, StopReason
from verifiers.types import invalid, scored

PROMPT = prompt([1])


def group(*scores, cut=False):
    verdicts = tuple(invalid("broken") if s is None else scored(s) for s in scores)
    one = replace(rollout([5], [-1]), stop_reason=StopReason.LENGTH if cut else StopReason.STOP)
    return ScoredGroup(PROMPT, (one,) * len(scores), verdicts)


def stage(**sections):
    return RlvrStage(name="rl", kind="rlvr", steps=1, **sections)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (group(1.0, 0.0), True),
        (group(1.0, 1.0), False),
        (group(0.0, 0.0, None), False),
        (group(1.0, None), False),
        (group(None, None), False),
        (group(0.5, 0.5), False),
        (group(0.0, 0.2), True),
        (group(0.0, 0.0, 0.0, 0.2), False),
        (group(1.0, 1.0, 1.0, 0.7), False),
    ],
)
def test_a_group_teaches_when_its_scores_differ_and_their_mean_is_within_bounds(found, expected):
    assert teaches(found, stage(dynamic_sampling=DynamicSampling(min_mean=0.1, max_mean=0.9))) is expected
    assert teaches(found, stage()) is True, "without dynamic sampling there are no conditions"


def test_the_penalty_for_length_alone_is_no_reason_to_train_on_a_group():
    right = replace(group(1.0, 1.0), penalties=(0.0, 0.5))
    assert right.rewards == (1.0, 0.5)
    assert not teaches(right, stage(dynamic_sampling=DynamicSampling(), overlong=Overlong(soft_buffer=8)))


def test_a_group_that_was_cut_as_a_whole_teaches_nothing_when_cut_ones_are_masked():
    sampling = DynamicSampling()
    assert teaches(group(1.0, 0.0, cut=True), stage(dynamic_sampling=sampling))
    assert not teaches(group(1.0, 0.0, cut=True), stage(dynamic_sampling=sampling, overlong=Overlong(mask=True)))


def visits(history, *groups):
    """Ask for the prompt before each of the groups; for each: whether it was passed over (then the group was not sampled)."""
    passed = []
    for found in groups:
        passed.append(history.pass_over(PROMPT) is not None)
        if not passed[-1]:
            history.observe(found)
    return passed


def test_a_solved_prompt_rests_and_comes_back():
    easy, mixed = group(1.0, 1.0), group(1.0, 0.0)
    assert visits(History(Difficulty(rest=2)), *[easy] * 7) == [False, True, True, False, True, True, False]
    assert visits(History(Difficulty()), easy, mixed, mixed, mixed) == [False, True, False, False]


def test_only_so_many_barren_visits_in_a_row_make_it_rest():
    hard, mixed = group(0.0, 0.0), group(1.0, 0.0)
    history = History(Difficulty(visits=2))
    assert visits(history, hard, mixed, hard, hard, mixed, hard) == [False, False, False, False, True, False]


@pytest.mark.parametrize(
    ("found", "rests"),
    [
        (group(0.9, 0.9, 0.8), True),  # solved by mean
        (group(0.0, 0.1, 0.1), True),  # hopeless by mean
        (group(0.5, 0.5, 0.5), True),  # no variance
        (group(0.5, 0.51, 0.5), True),  # hardly any: 0.0047
        (group(0.5, 0.7, 0.5), False),
    ],
)
def test_mean_and_deviation_decide(found, rests):
    history = History(Difficulty(solved=0.85, hopeless=0.1, min_std=0.01))
    history.observe(found)
    assert (history.pass_over(PROMPT) is not None) is rests


def test_a_group_with_one_valid_verdict_says_nothing():
    history = History(Difficulty())
    history.observe(group(1.0, None))
    assert history.state_dict() == []


def test_the_history_survives_json_and_prompts_of_two_sources_are_two():
    history = History(Difficulty(rest=3))
    history.observe(group(0.1, 0.1))
    history.observe(replace(group(1.0, 0.3), prompt=replace(PROMPT, source="other")))
    history.pass_over(PROMPT)
    other = History(Difficulty(rest=3))
    other.load_state_dict(json.loads(json.dumps(history.state_dict())))
    assert other.state_dict() == history.state_dict()
    assert other.pass_over(replace(PROMPT, source="other")) is None
    assert other.pass_over(PROMPT) == Record(visits=1, mean=0.1, std=0.0, barren=1, rest=2)
