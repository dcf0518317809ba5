"""The loop with in-process implementations of its protocols: no Ray, no vLLM."""

import asyncio
import json
import signal

import numpy as np
import pytest
import torch
from helpers import plain_model, rollout

from tower_rl import checkpoint
from tower_rl.config.dump import dump
from tower_rl.config.load import load
from tower_rl.data.stream import PromptStream
from tower_rl.losses.policy import Denominators, Objective, policy_loss
from tower_rl.models.load import load_model, load_tokenizer
from tower_rl.models.packed import PackedPolicy, scatter
from tower_rl.protocols import InvalidRateExceeded, MismatchExceeded
from tower_rl.reporting.metrics import read
from tower_rl.reporting.progress import Progress
from tower_rl.reporting.rollouts import read_rollouts
from tower_rl.runfolder import Mode, RunFolder
from tower_rl.stages.journal import RlvrJournal
from tower_rl.stages.rlvr import Parts, train_synchronously
from tower_rl.stopping import Stopped, listening
from tower_rl.types import Group, ScoredGroup, StepResult
from verifiers.types import invalid, scored

CONFIG = """
run: {{name: loop, dir: {folder}}}
model: {{path: {model}, dtype: float32}}
data:
  max_prompt_tokens: 200
  sources: {{sums: {{kind: reasoning_gym, task: chain_sum, size: 50, verifier: even}}}}
rollout: {{group_size: 8, prompts_per_step: 4, max_new_tokens: 8}}
policy: {{tokens_per_micro_batch: 1024, learning_rate: 0.02}}
verifiers: {{even: {{use: constraints}}}}
stages: [{{name: rl, kind: rlvr, steps: {steps}, save_every: 4}}]
"""


class InProcess:
    """Generator, verifiers, learner and sync in one: the tiny model samples, is scored by its share of even tokens, learns."""

    workers = 1

    def __init__(self, folder, rate):
        self.policy, self.engine = PackedPolicy(load_model(folder, "float32"), 64), plain_model(folder)
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=rate)
        self.version, self.versions, self.shift, self.broken, self.resting = -1, [], 0.0, False, False

    async def rest(self):
        self.resting = True

    async def generate(self, prompts, samples):
        assert not self.resting, "new weights come first"
        for prompt in reversed(prompts):
            yield Group(prompt, self._sample(prompt, samples))

    @torch.no_grad()
    def _sample(self, prompt, samples):
        tokens, logprobs = torch.tensor([prompt.token_ids] * samples), []
        for _ in range(8):
            distribution = torch.distributions.Categorical(logits=self.engine(tokens).logits[:, -1])
            token = distribution.sample()
            tokens = torch.cat([tokens, token[:, None]], 1)
            logprobs.append(distribution.log_prob(token) + self.shift)
        rows = zip(tokens[:, -8:].numpy(), torch.stack(logprobs, 1).numpy(), strict=True)
        return tuple(rollout(t, p, self.version) for t, p in rows)

    async def verify(self, group):
        verdicts = [invalid("broken") if self.broken else scored(float((r.token_ids % 2 == 0).mean())) for r in group.rollouts]
        return ScoredGroup(group.prompt, group.rollouts, tuple(verdicts))

    async def update(self, batches, step):
        assert self.resting, "the learner has the memory"
        (batch,) = batches
        sums, objective = {}, Objective("vanilla", "token-mean", 0.2, 0.2, 0.0, "k3")
        for m in batch.micro_batches:
            logprobs, _ = self.policy(m, batch.temperature)
            values = (torch.from_numpy(x) for x in (m.old_logprobs, m.advantages, m.mask))
            old, advantages, mask = values
            loss, parts = policy_loss(
                objective,
                Denominators(1, batch.global_tokens, batch.global_rollouts),
                scatter(logprobs, m),
                old,
                None,
                advantages,
                mask,
            )
            loss.backward()
            sums = {k: sums.get(k, 0.0) + float(v) for k, v in parts.items()}
        self.optimizer.step()
        self.optimizer.zero_grad()
        scored = max(1.0, sums.pop("scored"))
        metrics = {k: v / scored for k, v in sums.items()} | {"entropy": 1.0}
        return StepResult(float(loss.detach()), 1.0, 0.0, batch.global_tokens, metrics)

    async def save(self, folder):
        torch.save({"policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()}, folder / "state.pt")

    async def load(self, folder):
        state = torch.load(folder / "state.pt")
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])

    async def push(self, version):
        assert version > self.version
        self.engine.load_state_dict(self.policy.model.state_dict())
        self.version, self.resting = version, False
        self.versions.append(version)
        return {"mismatch/probe": 0.0}


def run(tmp_path, model, parts, steps, mode=Mode.NEW):
    torch.manual_seed(0)
    (tmp_path / "c.yaml").write_text(CONFIG.format(folder=tmp_path / "run", model=model, steps=steps))
    config = load(tmp_path / "c.yaml")
    with RunFolder.create(config, dump(config), mode) as folder:
        stream = PromptStream(config.data, 0, load_tokenizer(model), rejects=folder.path / "rejects.jsonl")
        stage = folder.stage(0, "rl")
        journal = RlvrJournal(folder, stage, "rl", steps, 2, Progress())
        made = Parts(parts, parts, None, parts, parts)
        with listening(journal.stop):
            asyncio.run(train_synchronously(made, stream, journal, config, config.stages[0]))
    return stage


@pytest.fixture(scope="module")
def finished(tiny_model, tmp_path_factory):
    return run(tmp_path_factory.mktemp("finished"), tiny_model, InProcess(tiny_model, 0.02), 12)


def test_the_reward_rises(finished):
    rewards = [row["reward/mean"] for row in read(finished.metrics)]
    assert len(rewards) == 12
    assert np.mean(rewards[-3:]) > np.mean(rewards[:3]) + 0.2


def test_rows_and_rollouts_are_complete(finished):
    rows = read(finished.metrics)
    wanted = {
        "step",
        "stage",
        "attempt",
        "reward/mean",
        "reward/even",
        "invalid_rate",
        "entropy",
        "grad_norm",
        "clip_share",
        "tokens",
        "policy_version",
    }
    wanted |= {"mismatch/mean", "mismatch/outside", "time/generate", "time/verify", "time/train", "time/sync", "time/step"}
    assert wanted <= rows[0].keys()
    assert [row["policy_version"] for row in rows] == list(range(1, 13))
    for step in range(12):
        rollouts = read_rollouts(finished.rollouts(step))
        assert sorted({r["cursor"] for r in rollouts}) == list(range(4 * step, 4 * step + 4))
        assert all(r["policy_version_min"] == r["policy_version_max"] == step for r in rollouts)
        assert all(r["advantage"] is not None for r in rollouts)


def test_a_failed_run_goes_on_without_losing_or_repeating_a_prompt(tiny_model, tmp_path):
    class Dies(InProcess):
        async def update(self, batches, step):
            if self.version == 6:
                raise KeyboardInterrupt
            return await super().update(batches, step)

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tiny_model, Dies(tiny_model, 0.02), 8)
    second = InProcess(tiny_model, 0.02)
    stage = run(tmp_path, tiny_model, second, 8, Mode.RESUME)
    rows = read(stage.metrics)
    assert [row["step"] for row in rows] == list(range(8))
    assert [row["attempt"] for row in rows] == [1] * 4 + [2] * 4
    assert len(read(stage.metrics, superseded=True)) == 10, "the two rows past the checkpoint are kept, marked"
    versions = [row["policy_version"] for row in read(stage.metrics, superseded=True)]
    assert versions == sorted(set(versions)), "a version is never used twice"
    assert sorted({r["cursor"] for step in range(8) for r in read_rollouts(stage.rollouts(step))}) == list(range(32))


def test_the_report_is_there_from_the_first_step(tiny_model, tmp_path):
    class Looks(InProcess):
        async def update(self, batches, step):
            seen.append((tmp_path / "run" / "report.html").exists())
            return await super().update(batches, step)

    seen = []
    run(tmp_path, tiny_model, Looks(tiny_model, 0.02), 3)
    assert seen == [False, True, True], "long before the first checkpoint"


def test_a_run_that_is_asked_to_stop_saves_its_step(tiny_model, tmp_path):
    class Asked(InProcess):
        async def update(self, batches, step):
            if step == 1:
                signal.raise_signal(signal.SIGTERM)
            return await super().update(batches, step)

    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with pytest.raises(Stopped):
        run(tmp_path, tiny_model, Asked(tiny_model, 0.02), 4)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "stopped"
    stage = run(tmp_path, tiny_model, InProcess(tiny_model, 0.02), 4, Mode.RESUME)
    assert [row["attempt"] for row in read(stage.metrics)] == [1, 1, 2, 2]
    assert len(read(stage.metrics, superseded=True)) == 4, "no step is done twice"


def test_the_second_signal_stops_at_once(tiny_model, tmp_path):
    class Impatient(InProcess):
        async def update(self, batches, step):
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGTERM)
            raise AssertionError("the second signal was not heard")

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tiny_model, Impatient(tiny_model, 0.02), 4)
    assert checkpoint.latest(tmp_path / "run" / "stages" / "0-rl") is None


def test_broken_verifiers_stop_the_run(tiny_model, tmp_path):
    parts = InProcess(tiny_model, 0.02)
    parts.broken = True
    with pytest.raises(InvalidRateExceeded, match=r"32 of 32 verdicts are invalid .* most often : broken"):
        run(tmp_path, tiny_model, parts, 2)


def test_engine_and_trainer_that_disagree_stop_the_run(tiny_model, tmp_path):
    parts = InProcess(tiny_model, 0.02)
    parts.shift = 0.5
    with pytest.raises(MismatchExceeded, match=r"differ by 0\.500 nats a token \(bound 0\.1\) and 100% of the ratios"):
        run(tmp_path, tiny_model, parts, 2)
