"""Dynamic sampling, difficulty and overlong responses in the loop. In-process parts; an answer depends on its prompt alone."""

import asyncio
import json
from dataclasses import replace
from zlib import crc32

import numpy as np
import pytest
from helpers import rollout

from tower_rl.compose.rlvr import _train
from tower_rl.config.dump import dump
from tower_rl.config.load import load
from tower_rl.data.stream import PromptStream
from tower_rl.models.load import load_tokenizer
from tower_rl.protocols import NothingToLearn
from tower_rl.reporting.metrics import read
from tower_rl.reporting.progress import Progress
from tower_rl.reporting.rollouts import read_rollouts
from tower_rl.runfolder import Mode, RunFolder
from tower_rl.stages.rlvr import Parts
from tower_rl.types import Group, ScoredGroup, StepResult, StopReason
from verifiers.types import scored

CONFIG = """
run: {{name: loop, dir: {folder}}}
model: {{path: {model}, dtype: float32}}
data:
  max_prompt_tokens: 200
  sources: {{sums: {{kind: reasoning_gym, task: chain_sum, size: 20, verifier: even}}}}
rollout: {{group_size: 4, prompts_per_step: 4, max_new_tokens: 8}}
policy: {{tokens_per_micro_batch: 1024}}
verifiers: {{even: {{use: constraints}}}}
stages: [{{name: rl, kind: rlvr, steps: {steps}, save_every: 4, {section}}}]
"""
REFILL = "dynamic_sampling: {max_refills: 2}"
REST = "difficulty: {rest: 2}"


def kind(prompt_id):
    """Prompts are solved, hopeless or neither, and stay so."""
    return ("solved", "hopeless", "mixed", "mixed")[crc32(prompt_id.encode()) % 4]


SCORES = {"solved": [1.0] * 4, "hopeless": [0.0] * 4, "mixed": [1.0, 0.0, 0.5, 0.0]}


class Scripted:
    """Generator, verifiers, learner and sync in one. Rollouts are 2, 4, 6 and 8 tokens long, the last one is cut."""

    workers = 1

    def __init__(self, scores, dies_at=None):
        self.scores, self.dies_at, self.version, self.trained = scores, dies_at, 0, {}

    async def generate(self, prompts, samples):
        for prompt in reversed(prompts):
            rollouts = [rollout([prompt.cursor % 500] * n, [-1] * n, self.version) for n in (2, 4, 6, 8)]
            yield Group(prompt, (*rollouts[:3], replace(rollouts[3], stop_reason=StopReason.LENGTH)))

    async def rest(self):
        pass

    async def verify(self, group):
        return ScoredGroup(group.prompt, group.rollouts, tuple(map(scored, self.scores[kind(group.prompt.id)])))

    async def update(self, batches, step):
        if step == self.dies_at:
            raise KeyboardInterrupt
        (batch,) = batches
        self.trained[step] = [[np.stack([m.advantages[:, 0], m.mask.sum(1)], 1).tolist(), m.targets.tolist()]
                              for m in batch.micro_batches]  # fmt: skip
        return StepResult(0.0, 1.0, 0.0, batch.global_tokens, {"mismatch/mean": 0.0, "mismatch/outside": 0.0})

    async def save(self, folder):
        (folder / "trained.json").write_text(json.dumps(self.trained))

    async def load(self, folder):
        self.trained = {int(step): batches for step, batches in json.loads((folder / "trained.json").read_text()).items()}

    async def push(self, version):
        self.version = version
        return {}


def run(tmp_path, model, parts, steps, section, mode=Mode.NEW):
    (tmp_path / "c.yaml").write_text(CONFIG.format(folder=tmp_path / "run", model=model, steps=steps, section=section))
    config = load(tmp_path / "c.yaml")
    with RunFolder.create(config, dump(config), mode) as folder:
        stream = PromptStream(config.data, 0, load_tokenizer(model), rejects=folder.path / "rejects.jsonl")
        stage = folder.stage(0, "rl")
        together = Parts(parts, parts, None, parts, parts)
        asyncio.run(_train(together, stream, config, config.stages[0], stage, folder, Progress()))
    return stage


def stream_of(tmp_path, model, n):
    config = load(tmp_path / "c.yaml")
    return PromptStream(config.data, 0, load_tokenizer(model), rejects=tmp_path / "rejects.jsonl").take(n)


def sampled(stage, step):
    """Cursors of a step, and of those the ones with an advantage."""
    rows = read_rollouts(stage.rollouts(step))
    return sorted({r["cursor"] for r in rows}), sorted({r["cursor"] for r in rows if r["advantage"] is not None})


def test_groups_that_teach_nothing_are_replaced(tiny_model, tmp_path):
    parts = Scripted(SCORES)
    stage = run(tmp_path, tiny_model, parts, 10, REFILL)
    rows, prompts, at = read(stage.metrics), stream_of(tmp_path, tiny_model, 200), 0
    assert len(rows) == 10
    for step, row in enumerate(rows):
        asked, useful, rounds = [], [], 0
        while len(useful) < 4 and rounds < 3:
            batch = prompts[at : at + 4 - len(useful)]
            at, rounds, asked = at + len(batch), rounds + 1, asked + batch
            useful += [p for p in batch if kind(p.id) == "mixed"]
        assert sampled(stage, step) == ([p.cursor for p in asked], [p.cursor for p in useful])
        counts = {name: row[f"groups/{name}"] for name in ("sampled", "trained", "dropped", "refills")}
        wanted = {"sampled": len(asked), "trained": len(useful), "dropped": len(asked) - len(useful), "refills": rounds - 1}
        assert counts == wanted
        assert row["groups/without_variance"] == pytest.approx(counts["dropped"] / counts["sampled"])
        assert row["reward/mean"] == pytest.approx(np.mean([SCORES[kind(p.id)] for p in asked]))
    assert {row["groups/refills"] for row in rows} >= {1, 2}
    assert {row["groups/trained"] for row in rows} >= {3, 4}, "a step whose refills are used up trains on what there is"


@pytest.mark.parametrize("section", [REFILL, REST, f"{REFILL}, {REST}"])
def test_a_killed_run_goes_on_as_if_nothing_had_happened(tiny_model, tmp_path, section):
    (tmp_path / "straight").mkdir()
    (tmp_path / "killed").mkdir()
    straight, second = Scripted(SCORES), Scripted(SCORES)
    expected = run(tmp_path / "straight", tiny_model, straight, 12, section)
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path / "killed", tiny_model, Scripted(SCORES, dies_at=10), 12, section)
    stage = run(tmp_path / "killed", tiny_model, second, 12, section, Mode.RESUME)
    assert second.trained == straight.trained
    assert [sampled(stage, step) for step in range(12)] == [sampled(expected, step) for step in range(12)]
    skipped = [[(r["step"], r["cursor"], r["prompt_id"], r["rest"]) for r in read(s.skipped)] for s in (stage, expected)]
    assert skipped[0] == skipped[1]
    seen = [cursor for step in range(12) for cursor in sampled(stage, step)[0]] + [cursor for _, cursor, _, _ in skipped[0]]
    assert sorted(seen) == list(range(len(seen))), "each position of the stream is sampled or passed over, once"


def test_solved_and_hopeless_prompts_rest_for_two_epochs(tiny_model, tmp_path):
    stage = run(tmp_path, tiny_model, Scripted(SCORES), 12, REST)
    rows, prompts = read(stage.metrics), stream_of(tmp_path, tiny_model, 300)
    at, resting, passed, taken = 0, {}, [], []
    while len(taken) < 48:
        prompt, at = prompts[at], at + 1
        if resting.get(prompt.id, 0):
            resting[prompt.id] -= 1
            passed.append(prompt.cursor)
        else:
            resting[prompt.id] = 0 if kind(prompt.id) == "mixed" else 2
            taken.append(prompt.cursor)
    assert [cursor for step in range(12) for cursor in sampled(stage, step)[0]] == taken
    told = read(stage.skipped)
    assert [row["cursor"] for row in told] == passed
    assert {(row["mean"], row["std"]) for row in told} == {(0.0, 0.0), (1.0, 0.0)}
    assert sum(row["prompts/skipped"] for row in rows) == len(passed) > 10


def test_a_step_that_finds_nothing_to_learn_ends_the_run(tiny_model, tmp_path):
    with pytest.raises(
        NothingToLearn, match=r"none of the step's 12 groups is left .* in 12 all scores are equal, and 12 of 48 resp"
    ):
        run(tmp_path, tiny_model, Scripted(dict.fromkeys(SCORES, [1.0] * 4)), 2, REFILL)
    assert len(read_rollouts(tmp_path / "run" / "stages" / "0-rl" / "rollouts" / "step-0.parquet")) == 48


def test_penalty_and_mask_reach_the_update_and_the_files(tiny_model, tmp_path):
    """Lengths 2, 4, 6, 8 of at most 8, a buffer of 4 and a penalty of 0.5: the last two lose 0.25 and 0.5; the last is cut."""
    parts = Scripted({name: [1.0, 0.0, 1.0, 1.0] for name in SCORES})
    stage = run(tmp_path, tiny_model, parts, 1, "normalize_by_std: false, overlong: {mask: true, soft_buffer: 4, penalty: 0.5}")
    rewards = np.array([1.0, 0.0, 0.75, 0.5])
    (row,) = read(stage.metrics)
    assert (row["reward/mean"], row["reward/shaped"]) == (0.75, pytest.approx(rewards.mean()))
    rows = read_rollouts(stage.rollouts(0))
    assert [r["score"] for r in rows[:4]] == [1.0, 0.0, 1.0, 1.0]
    assert [r["reward"] for r in rows[:4]] == rewards.tolist()
    centred = rewards - rewards.mean()
    assert [r["advantage"] for r in rows[:4]] == [*map(pytest.approx, centred[:3]), None]
    ((trained, targets),) = parts.trained[0]
    np.testing.assert_allclose(trained, [[a, n] for _ in range(4) for a, n in zip(centred, (2, 4, 6), strict=False)])
    assert len(targets) == 4 * (2 + 4 + 6)
