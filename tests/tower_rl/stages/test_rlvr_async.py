"""The asynchronous loop with in-process implementations of its protocols, which dawdle and die at random."""

import asyncio
import os
import random

import numpy as np
import pytest
import torch
from helpers import VOCABULARY
from torch.nn.functional import embedding

from tower_rl.batching import rescored
from tower_rl.config.dump import dump
from tower_rl.config.load import load
from tower_rl.config.stages import Correction
from tower_rl.data.stream import PromptStream
from tower_rl.losses.correction import correct
from tower_rl.losses.policy import Denominators, Objective, policy_loss
from tower_rl.models.load import load_tokenizer
from tower_rl.models.packed import scatter
from tower_rl.protocols import StalenessExceeded
from tower_rl.reporting.metrics import read
from tower_rl.reporting.progress import Progress
from tower_rl.reporting.rollouts import read_rollouts
from tower_rl.runfolder import Mode, RunFolder
from tower_rl.stages.journal import RlvrJournal
from tower_rl.stages.rlvr import Parts, train_asynchronously, train_synchronously
from tower_rl.types import Group, Rollout, ScoredGroup, StepResult, StopReason
from verifiers.types import scored

STEPS, PROMPTS, SAMPLES, TOKENS = 6, 3, 4, 6
CONFIG = f"""
run: {{{{name: loop, dir: {{folder}}}}}}
model: {{{{path: {{model}}, dtype: float32}}}}
data:
  max_prompt_tokens: 200
  sources: {{{{sums: {{{{kind: reasoning_gym, task: chain_sum, size: 50, verifier: even}}}}}}}}
rollout: {{{{group_size: {SAMPLES}, prompts_per_step: {PROMPTS}, max_new_tokens: {TOKENS}}}}}
verifiers: {{{{even: {{{{use: constraints}}}}}}}}
stages:
- name: rl
  kind: rlvr
  steps: {STEPS}
  save_every: 2
  mismatch: {{{{mean: 9, outside: 1}}}}
  asynchronous: {{asynchronous}}
"""
DEADLINE_S = 30.0
"""Of a run that takes about one second."""


class Death(Exception):
    """Of one of the parts."""


LIFE = {"token": PROMPTS * STEPS * TOKENS, "verify": PROMPTS * STEPS, "update": STEPS, "push": STEPS + 1, "save": STEPS // 2}
"""How often each works in a run."""


class World:
    """Generator, verifiers, learner and sync in one. The policy is a table of logits of the next token after each token.

    Each token, verdict, update, push and save may take a while (`seed`), and one of them is the last (`death`: whose, and how
    many it does before).
    """

    workers = 1

    def __init__(self, seed=None, death=("", 0), recorded=None):
        self.random, self.delays = random.Random(seed), seed is not None
        self.death, self.done = death, dict.fromkeys(LIFE, 0)
        self.table = torch.nn.Parameter(torch.randn(VOCABULARY, VOCABULARY, generator=torch.Generator().manual_seed(0)))
        self.optimizer = torch.optim.AdamW([self.table], lr=0.1)
        self.version, self.lag, self.training, self.overlapping = -1, 0, False, 0
        self.recorded, self.groups = recorded, {}

    async def works(self, who):
        pause = self.random.choice((0, 0, 0, 0.001, 0.004)) + (0.01 if who == "update" else 0)  # updates always leave room
        await asyncio.sleep(pause if self.delays else 0)
        if (who, self.done[who]) == self.death:
            raise Death(who)
        self.done[who] += 1

    async def rest(self):
        pass

    async def generate(self, prompts, samples):
        tasks = [asyncio.create_task(self.group(prompt, samples)) for prompt in prompts]
        try:
            for done in asyncio.as_completed(tasks):
                yield await done
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def group(self, prompt, samples):
        generator = torch.Generator().manual_seed(prompt.cursor)
        token, rows, logprobs, versions = torch.full((samples,), prompt.token_ids[-1]), [], [], []
        for _ in range(TOKENS):
            await self.works("token")
            self.overlapping += self.training
            distribution = torch.log_softmax(self.engine[token], -1)
            token = torch.multinomial(distribution.exp(), 1, generator=generator)[:, 0]
            rows.append(token.numpy())
            logprobs.append(distribution[range(samples), token].numpy())
            versions.append(self.version - self.lag)
        sampled = zip(np.stack(rows, 1), np.stack(logprobs, 1), strict=True)
        group = Group(prompt, tuple(Rollout(t, p, "", StopReason.LENGTH, np.array(versions)) for t, p in sampled))
        self.groups[prompt.cursor] = self.recorded[prompt.cursor] if self.recorded else group
        return self.groups[prompt.cursor]

    async def verify(self, group):
        await self.works("verify")
        verdicts = [scored(float((r.token_ids % 2 == 0).mean())) for r in group.rollouts]
        return ScoredGroup(group.prompt, group.rollouts, tuple(verdicts))

    async def update(self, batches, step):
        self.training = True
        await self.works("update")
        (batch,) = batches
        sums, objective = {}, Objective("vanilla", "token-mean", 0.2, 0.2, 0.0, "k3")
        over = Denominators(1, batch.global_tokens, batch.global_rollouts)
        for m in batch.micro_batches:
            old, advantages, mask = (torch.from_numpy(x) for x in (m.old_logprobs, m.advantages, m.mask))
            rollout = m.rollout_logprobs
            corrected = None if rollout is None else correct(Correction(), old, torch.from_numpy(rollout), mask)
            loss, parts = policy_loss(objective, over, self.logprobs(m), old, None, advantages, mask, corrected)
            loss.backward()
            sums = {k: sums.get(k, 0.0) + float(v) for k, v in parts.items()}
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.training = False
        scored = max(1.0, sums.pop("scored"))
        return StepResult(float(loss.detach()), 1.0, 0.0, batch.global_tokens, {k: v / scored for k, v in sums.items()})

    async def score(self, batches):
        return [rescored(batch, [self.logprobs(m).detach().numpy() for m in batch.micro_batches]) for batch in batches]

    def logprobs(self, m):
        seen, targets = (torch.from_numpy(x) for x in (m.token_ids[m.predictors], m.targets))
        return scatter(torch.log_softmax(embedding(seen, self.table), -1).gather(1, targets[:, None])[:, 0], m)

    async def push(self, version):
        assert version > self.version
        await self.works("push")
        self.engine, self.version = self.table.detach().clone(), version
        return {"mismatch/probe": 0.0}

    async def save(self, folder):
        await self.works("save")
        torch.save({"table": self.table.data, "optimizer": self.optimizer.state_dict()}, folder / "state.pt")

    async def load(self, folder):
        state = torch.load(folder / "state.pt")
        self.table.data = state["table"]
        self.optimizer.load_state_dict(state["optimizer"])


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """One thread, which also makes sums the same each time; and no wait for the disk."""
    monkeypatch.setattr(os, "fsync", lambda descriptor: None)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def run(tiny_model, tmp_path):
    """Trains a world within a deadline, asynchronously if a staleness is given, into a folder; nothing may be left running."""

    def train(world, staleness, name="run", mode=Mode.NEW):
        section = "null" if staleness is None else f"{{staleness: {staleness}}}"
        (tmp_path / "c.yaml").write_text(CONFIG.format(folder=tmp_path / name, model=tiny_model, asynchronous=section))
        config = load(tmp_path / "c.yaml")
        (stage,) = config.stages

        async def whole(stream, journal):
            parts = Parts(world, world, None, world, world)
            try:
                if stage.asynchronous is None:
                    loop = train_synchronously(parts, stream, journal, config, stage)
                else:
                    loop = train_asynchronously(parts, stream, journal, config, stage, stage.asynchronous.staleness)
                await asyncio.wait_for(loop, DEADLINE_S)
            finally:
                assert asyncio.all_tasks() == {asyncio.current_task()}, "something still runs"

        with RunFolder.create(config, dump(config), mode) as folder:
            stream = PromptStream(config.data, 0, load_tokenizer(tiny_model), rejects=folder.path / "rejects.jsonl")
            asyncio.run(whole(stream, RlvrJournal(folder, folder.stage(0, "rl"), "rl", STEPS, 2, Progress())))
            return folder.stage(0, "rl")

    return train


def rows_without_times(stage):
    return [{k: v for k, v in row.items() if not k.startswith(("time/", "sampling/"))} for row in read(stage.metrics)]


def check_order(stage):
    for step in range(STEPS):
        cursors = {r["cursor"] for r in read_rollouts(stage.rollouts(step))}
        assert cursors == set(range(PROMPTS * step, PROMPTS * (step + 1)))


def test_at_bound_0_it_does_what_the_synchronous_loop_does(run):
    one, other = World(), World(seed=1)
    first, second = run(one, None, "synchronous"), run(other, 0, "asynchronous")
    assert torch.equal(one.table, other.table), "the same weights, bit by bit"
    assert rows_without_times(first) == rows_without_times(second)
    for step in range(STEPS):
        assert read_rollouts(first.rollouts(step)) == read_rollouts(second.rollouts(step))
    assert other.overlapping == 0
    assert "correction/weight" not in read(second.metrics)[0], "what is not sampled ahead is not corrected"


def test_at_bound_0_recorded_rollouts_make_the_same_updates(run):
    one = World()
    first = run(one, None, "synchronous")
    other = World(seed=2, recorded=one.groups)
    second = run(other, 0, "asynchronous")
    assert torch.equal(one.table, other.table)
    assert rows_without_times(first) == rows_without_times(second)


@pytest.mark.parametrize("staleness", [1, 2])
def test_sampling_overlaps_training_and_no_token_is_too_old(run, staleness):
    world = World(seed=3)
    stage = run(world, staleness)
    rows = read(stage.metrics)
    assert world.overlapping > 0
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert max(row["staleness/max"] for row in rows) == staleness
    assert rows[0]["staleness/older_share"] == 0 and rows[-1]["staleness/older_share"] > 0
    assert 0 < rows[-1]["staleness/mean"] <= staleness
    assert {"time/wait", "time/train", "time/sync", "sampling/generate", "sampling/verify"} <= rows[0].keys()
    assert rows[0]["correction/weight"] == pytest.approx(1), "rollouts of the current policy weigh 1"
    assert rows[0]["correction/kl"] == pytest.approx(0, abs=1e-6)
    kls = [row["correction/kl"] for row in rows[1:]]
    assert max(kls) > 1e-5, kls  # an update changes few rows of the table, so it shows in few tokens
    assert all(row["time/wait"] + row["time/train"] + row["time/sync"] <= row["time/step"] for row in rows)
    check_order(stage)
    kept = [r | {"step": step} for step in range(STEPS) for r in read_rollouts(stage.rollouts(step))]
    assert all(r["step"] - staleness <= r["policy_version_min"] <= r["policy_version_max"] <= r["step"] for r in kept)
    assert any(r["policy_version_min"] < r["policy_version_max"] for r in kept), "weights changed within a rollout"


@pytest.mark.parametrize("seed", range(8))
def test_delays_of_any_kind_keep_order_and_bound(run, seed):
    staleness = seed % 4
    stage = run(World(seed=seed), staleness)
    assert all(0 <= row["staleness/max"] <= staleness for row in read(stage.metrics))
    check_order(stage)


def test_a_failed_run_goes_on_without_losing_or_repeating_a_prompt(run):
    with pytest.raises(Death):
        run(World(seed=4, death=("update", 5)), 2)
    stage = run(World(seed=5), 2, mode=Mode.RESUME)
    rows = read(stage.metrics)
    assert [(row["step"], row["attempt"]) for row in rows] == [(0, 1), (1, 1), (2, 1), (3, 1), (4, 2), (5, 2)]
    versions = [row["policy_version"] for row in read(stage.metrics, superseded=True)]
    assert versions == sorted(set(versions)), "a version is never used twice"
    check_order(stage)


@pytest.mark.parametrize("seed", range(20))
def test_whoever_dies_ends_the_run_with_his_error(run, seed):
    chance = random.Random(seed)
    who = list(LIFE)[seed % len(LIFE)]
    world = World(seed, (who, chance.randrange(LIFE[who])))
    with pytest.raises(Death, match=who):
        run(world, chance.randrange(4))


@pytest.mark.parametrize("who", ["token", "verify"])
def test_a_death_in_what_is_sampled_ahead_ends_an_update_that_still_waits(run, who):
    class Hangs(World):
        async def update(self, batches, step):
            await asyncio.Event().wait()

    with pytest.raises(Death, match=who):
        run(Hangs(death=(who, LIFE[who] // STEPS + 1)), 1)


def test_tokens_that_are_too_old_end_the_run_before_they_are_trained_on(run):
    world = World(seed=6)
    world.lag = 2
    message = r"72 of 72 tokens .* oldest are from version -2, .* where version 0 is trained and \S+ is 1; nothing was trained"
    with pytest.raises(StalenessExceeded, match=message):
        run(world, 1)
    assert world.done["update"] == 0
