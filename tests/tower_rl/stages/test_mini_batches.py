"""Several updates on one batch of rollouts, against loops in plain torch on unpacked sequences."""

import asyncio
from dataclasses import replace

import numpy as np
import pytest
import torch
from helpers import plain_logprobs, plain_loss, plain_model, sampled_groups

from tower_rl.batching import assemble, divide, rescored
from tower_rl.config.dump import dump
from tower_rl.config.load import load
from tower_rl.config.stages import RlvrStage
from tower_rl.losses.correction import correct
from tower_rl.losses.policy import Denominators, Objective, policy_loss
from tower_rl.models.load import load_model
from tower_rl.models.packed import PackedPolicy, scatter, score
from tower_rl.protocols import SCORED, RunError
from tower_rl.reporting.progress import Progress
from tower_rl.runfolder import Mode, RunFolder
from tower_rl.stages import rlvr
from tower_rl.stages.clock import Clock
from tower_rl.stages.journal import RlvrJournal
from tower_rl.stages.rlvr import Parts, averaged, check_mismatch, learn
from tower_rl.types import ScoredGroup, StepResult
from verifiers.types import scored

CONFIG = """
run: {{name: learn, dir: {folder}, seed: 5}}
model: {{path: {model}, dtype: float32}}
data: {{max_prompt_tokens: 20, sources: {{sums: {{kind: reasoning_gym, task: chain_sum, size: 50, verifier: even}}}}}}
rollout: {{group_size: 4, prompts_per_step: 5, max_new_tokens: 20, temperature: 0.7}}
policy: {{tokens_per_micro_batch: 60}}
verifiers: {{even: {{use: constraints}}}}
stages: [{{name: rl, kind: rlvr, steps: 9, mismatch: {{mean: 9, outside: 1}}, {options}}}]
"""
SIZES, STEP, RATE, TEMPERATURE = (3, 2, 4, 2, 3), 7, 0.1, 0.7


@pytest.fixture(autouse=True)
def one_thread():
    """Two threads wait for each other on models as small as these."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


class InProcess:
    """Learner and reference: the tiny model in packed form, trained by gradient descent, as two ranks one after the other."""

    workers = 2

    def __init__(self, folder, stage):
        self.policy, self.frozen = (PackedPolicy(load_model(folder, "float32"), 64) for _ in range(2))
        self.objective = Objective(
            "vanilla", "token-mean", 0.2, 0.2, stage.kl_coefficient, stage.kl_estimator, correction=stage.correction
        )
        self.optimizer = torch.optim.SGD(self.policy.parameters(), lr=RATE)
        self.scored, self.annotated, self.steps = 0, 0, []

    async def score(self, batches):
        self.scored += 1
        return [rescored(b, [score(self.policy, m, b.temperature) for m in b.micro_batches]) for b in batches]

    async def annotate(self, batches):
        self.annotated += 1
        return [
            replace(
                b,
                micro_batches=tuple(replace(m, reference_logprobs=score(self.frozen, m, b.temperature)) for m in b.micro_batches),
            )
            for b in batches
        ]

    async def update(self, batches, step):
        self.steps.append(step)
        sums = {"loss": 0.0}
        for batch, m in ((b, m) for b in batches for m in b.micro_batches):
            new = scatter(self.policy(m, batch.temperature)[0], m)
            old, advantages, mask = (torch.from_numpy(x) for x in (m.old_logprobs, m.advantages, m.mask))
            reference, rollout = (None if x is None else torch.from_numpy(x) for x in (m.reference_logprobs, m.rollout_logprobs))
            corrected = None if rollout is None else correct(self.objective.correction, old, rollout, mask)
            over = Denominators(1, batch.global_tokens, batch.global_rollouts)
            loss, parts = policy_loss(self.objective, over, new, old, reference, advantages, mask, corrected)
            loss.backward()
            for name, value in {**parts, "loss": loss.detach() * batch.global_tokens}.items():
                sums[name] = sums.get(name, 0.0) + float(value) / batch.global_tokens
        self.optimizer.step()
        self.optimizer.zero_grad()
        return StepResult(sums.pop("loss"), 1.0, 0.1, batch.global_tokens, sums)


class Counting(InProcess):
    """Knows how many rollouts it was given."""

    async def update(self, batches, step):
        self.rollouts = sum(int(m.mask.any(1).sum()) for b in batches for m in b.micro_batches)
        return await super().update(batches, step)


def taught(tmp_path, model, options, learner=InProcess, equal=()):
    """What `learn` answers to made-up rollouts of the model, up to noise, and the learner after it; groups may score equally."""
    tmp_path.mkdir(exist_ok=True)
    (tmp_path / "c.yaml").write_text(CONFIG.format(folder=tmp_path / "run", model=model, options=options))
    config = load(tmp_path / "c.yaml")
    stage = config.stages[0]
    groups, _ = sampled_groups(plain_model(model), 1, SIZES, TEMPERATURE)
    rng = np.random.default_rng(2)
    scores = [np.full(n, 0.5) if i in equal else rng.random(n) for i, n in enumerate(SIZES)]
    verdicts = [tuple(scored(float(score)) for score in own) for own in scores]
    judged = [ScoredGroup(g.prompt, g.rollouts, own) for g, own in zip(groups, verdicts, strict=True)]
    ranks = learner(model, stage)
    parts = Parts(None, None, ranks if stage.kl_coefficient else None, ranks, None)
    with RunFolder.create(config, dump(config), Mode.NEW) as folder:
        journal = RlvrJournal(folder, folder.stage(0, "rl"), "rl", 9, 2, Progress())
        advantages, result = asyncio.run(learn(parts, STEP, judged, journal, config, stage, Clock()))
    return groups, advantages, result, ranks


def plain_old(model, groups):
    """For each group and rollout, [T] log-probabilities before any update."""
    return [[plain_logprobs(model, g, r, TEMPERATURE).detach().numpy() for r in g.rollouts] for g in groups]


def assert_same_weights(learner, plain, untrained):
    moved = 0.0
    for found, expected, before in zip(*(m.parameters() for m in (learner.policy.model, plain, untrained)), strict=True):
        torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
        moved = max(moved, float((expected - before).abs().max().detach()))
    assert moved > 2e-3, "weights that stay where they are prove nothing"


def test_one_mini_batch_and_one_epoch_are_one_update_over_the_samplers_log_probabilities(tiny_model, tmp_path):
    groups, advantages, result, ranks = taught(tmp_path, tiny_model, "normalize_by_std: true")
    assert (ranks.scored, ranks.steps) == (0, [STEP]), "no pass that is not needed"
    other = InProcess(tiny_model, load(tmp_path / "c.yaml").stages[0])
    batches = assemble(groups, advantages, ranks=2, budget=60, temperature=TEMPERATURE)
    assert asyncio.run(other.update(batches, STEP)) == result
    for found, expected in zip(ranks.policy.parameters(), other.policy.parameters(), strict=True):
        assert torch.equal(found, expected)


@pytest.mark.parametrize("options", ["aggregation: token-mean", "mini_batches: 2, aggregation: seq-mean-token-mean"])
def test_rollouts_without_advantage_are_not_computed_and_still_count(tiny_model, tmp_path, monkeypatch, options):
    _, _, result, ranks = taught(tmp_path / "skipped", tiny_model, options, Counting, equal=(0, 2))
    monkeypatch.setattr(rlvr, "skips_silent", lambda stage: False)
    _, _, expected, every = taught(tmp_path / "computed", tiny_model, options, Counting, equal=(0, 2))
    assert ranks.rollouts < every.rollouts <= sum(SIZES)
    assert result.loss == pytest.approx(expected.loss, abs=1e-6)
    assert_same_weights(ranks, every.policy.model, plain_model(tiny_model))


def test_where_no_rollout_has_an_advantage_ranks_take_their_step_over_nothing(tiny_model, tmp_path):
    _, _, result, ranks = taught(tmp_path, tiny_model, "mini_batches: 2", Counting, equal=range(len(SIZES)))
    assert (ranks.rollouts, len(ranks.steps), result.loss) == (0, 2, 0)


def test_with_a_kl_term_every_rollout_is_computed(tiny_model, tmp_path):
    *_, ranks = taught(tmp_path, tiny_model, "kl_coefficient: 0.1", Counting, equal=(0, 2))
    assert ranks.rollouts == sum(SIZES)


@pytest.mark.parametrize(("mini_batches", "epochs"), [(2, 2), (1, 3), (5, 1)])
def test_updates_are_those_of_ppo_with_fixed_old_log_probabilities(tiny_model, tmp_path, mini_batches, epochs):
    options = f"mini_batches: {mini_batches}, epochs: {epochs}, kl_coefficient: 0.1"
    groups, advantages, result, ranks = taught(tmp_path, tiny_model, options)
    plain, frozen = plain_model(tiny_model), plain_model(tiny_model)
    old, optimizer, losses = plain_old(plain, groups), torch.optim.SGD(plain.parameters(), lr=RATE), []
    members, order = divide(len(SIZES), mini_batches, epochs, (5, STEP))
    for own in (members[i] for i in order):
        fixed = [
            replace(groups[i], rollouts=tuple(replace(r, logprobs=o) for r, o in zip(groups[i].rollouts, old[i], strict=True)))
            for i in own
        ]
        loss = plain_loss(plain, fixed, [advantages[i] for i in own], temperature=TEMPERATURE, clip=0.2, kl=0.1, reference=frozen)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert_same_weights(ranks, plain, frozen)
    assert result.loss == pytest.approx(np.mean(losses), abs=1e-5)
    assert ranks.steps == [STEP] * (mini_batches * epochs), "the learning rate is that of the step"
    assert (ranks.scored, ranks.annotated) == (mini_batches, mini_batches), "once, whatever the epochs"
    assert result.metrics["clip_share"] > 0, "where nothing is clipped, it is not seen which policy is the old one"
    differences = [abs(o - r.logprobs) for g, own in zip(groups, old, strict=True) for r, o in zip(g.rollouts, own, strict=True)]
    by_mini_batch = np.split(np.array(differences, object), np.cumsum(SIZES)[:-1])
    means = [np.concatenate([d for i in own for d in by_mini_batch[i]]).mean() for own in members]
    assert result.metrics["mismatch/mean"] == pytest.approx(np.mean(means), rel=1e-4), "of before the updates"


def test_corrected_updates_weigh_tokens_by_old_over_sampled(tiny_model, tmp_path):
    options = "epochs: 2, correction: {weights: token, truncate: 1.3, reject: {ratio: sequence, low: 0.6, high: 1.7}}"
    groups, advantages, result, ranks = taught(tmp_path, tiny_model, options)
    plain = plain_model(tiny_model)
    old, optimizer, rejected = plain_old(plain, groups), torch.optim.SGD(plain.parameters(), lr=RATE), 0
    for _ in range(2):
        total, count = torch.zeros(()), 0
        for group, own, values in zip(groups, old, advantages, strict=True):
            for r, o, a in zip(group.rollouts, own, values, strict=True):
                ratio = (plain_logprobs(plain, group, r, TEMPERATURE) - torch.from_numpy(o)).exp()
                keep = 0.6 <= np.exp((o - r.logprobs).sum()) <= 1.7
                weight = torch.from_numpy(np.exp(o - r.logprobs).clip(max=1.3)) * keep
                surrogate = torch.minimum(a * ratio, a * ratio.clamp(0.8, 1.2)).clamp(min=-3 * abs(a))
                total, count, rejected = total - (weight * surrogate).sum(), count + len(o), rejected + (not keep) * len(o)
        optimizer.zero_grad()
        (total / count).backward()
        optimizer.step()
    assert_same_weights(ranks, plain, plain_model(tiny_model))
    assert 0 < result.metrics["correction/rejected"] == pytest.approx(rejected / 2 / count)
    assert result.metrics["correction/truncated"] > 0


def test_several_updates_as_one():
    results = [
        StepResult(1.0, 2.0, 0.1, 30, {"kl": 0.5, "mismatch/max": 4.0}),
        StepResult(3.0, 6.0, 0.1, 10, {"kl": 1.0, "mismatch/max": 3.0}),
    ]
    assert averaged(results) == StepResult(2.0, 4.0, 0.1, 40, {"kl": 0.75, "mismatch/max": 4.0})
    assert averaged(results[:1]) == results[0]


def test_an_update_without_any_advantage_tells_nothing_about_tokens():
    """Its zeros would hide from the bound that engine and trainer differ."""
    silent, telling = ({"mismatch/mean": mean, SCORED: tokens} for mean, tokens in ((0.0, 0.0), (0.2, 7.0)))
    results = [StepResult(1.0, 2.0, 0.1, 30, telling), StepResult(0.0, 0.0, 0.1, 30, silent)]
    assert averaged(results) == StepResult(0.5, 1.0, 0.1, 60, {"mismatch/mean": 0.2})
    assert averaged(results[1:]).metrics == {"mismatch/mean": 0.0}


@pytest.mark.parametrize(("loss", "norm"), [(np.nan, 1.0), (0.1, np.nan), (0.1, np.inf)])
def test_what_is_not_a_number_is_no_mismatch(loss, norm):
    """The mismatch is not a number either where the trainer's log-probabilities are not."""
    result = StepResult(loss, norm, 0.1, 30, {"mismatch/mean": np.nan, "mismatch/outside": np.nan})
    with pytest.raises(RunError, match=rf"the loss \({loss:g}\) or the norm of its gradient \({norm:g}\) is not a number"):
        check_mismatch(result, RlvrStage(name="r", kind="rlvr", steps=1))
