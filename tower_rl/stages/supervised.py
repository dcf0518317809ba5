"""Supervised training (cpt, sft): the loop that every rank runs.

consumes   packs of the feed, by (seed, step, rank)
produces   a row of metrics a step, validation rows every `evaluate_every` steps, a checkpoint every `save_every` steps
waits for  the other ranks, in every update, validation and checkpoint
unblocked  by the deadline of the process group: a rank that does not come ends the group, which restarts from a checkpoint
"""

import math

from tower_rl.config.schema import Policy
from tower_rl.config.stages import SupervisedStage
from tower_rl.protocols import Feed, RankLearner, RunError
from tower_rl.schedule import learning_rate
from tower_rl.stages.clock import Clock
from tower_rl.stages.diary import Diary


def train(learner: RankLearner, feed: Feed, diary: Diary, policy: Policy, stage: SupervisedStage) -> None:
    """Train until `stage.steps`; goes on where the newest checkpoint ends."""
    first = resume(learner, feed, diary)
    if first == 0:
        diary.validation(0, learner.evaluate(feed.held_out()))
    for step in range(first, stage.steps):
        clock, done = Clock(), step + 1
        with clock("data"):
            packs = feed.step(step)
        with clock("train"):
            result = learner.update(packs, learning_rate(policy, step, stage.steps))
        if math.isnan(result.loss):
            raise RunError(f"the loss of step {done} is not a number; the last checkpoint is unharmed")
        diary.step(step, result, feed.metrics(), clock.seconds())
        if done % stage.evaluate_every == 0 or done == stage.steps:
            diary.validation(done, learner.evaluate(feed.held_out()))
        if done % stage.save_every == 0 or done == stage.steps:
            diary.save(done, learner, feed)


def resume(learner: RankLearner, feed: Feed, diary: Diary) -> int:
    """Bring learner and feed to the newest checkpoint; the next step."""
    saved = diary.newest()
    if saved is None:
        return 0
    learner.load(saved.folder)
    feed.load_state_dict(saved.feed)
    return saved.step
