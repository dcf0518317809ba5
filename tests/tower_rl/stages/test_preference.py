"""The stage with in-process implementations of its protocols: no Ray, no vLLM, no DeepSpeed."""

import asyncio
import dataclasses
import json
import signal
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from helpers import plain_model, rollout

from tower_rl.config.dump import dump
from tower_rl.config.load import load
from tower_rl.data.preference.competing import Competing
from tower_rl.data.preference.reference import ReferenceCache
from tower_rl.data.preference.table import read_pairs
from tower_rl.data.stream import PromptStream
from tower_rl.losses.logprobs import AlignedHead
from tower_rl.losses.preference import Objective, Weighting, Whole, preference_loss
from tower_rl.models.load import load_model, load_tokenizer
from tower_rl.models.packed import PackedPolicy, score
from tower_rl.models.preference import PreferenceTrainer
from tower_rl.protocols import RunError
from tower_rl.reporting.metrics import read
from tower_rl.reporting.progress import Progress
from tower_rl.runfolder import Mode, RunFolder
from tower_rl.stages.journal import PreferenceJournal
from tower_rl.stages.preference import Parts, train_preferences
from tower_rl.stopping import Stopped, listening
from tower_rl.types import Group, ScoredGroup, StepResult
from verifiers.types import scored

CONFIG = """
run: {{name: loop, dir: {folder}/run}}
model: {{path: {model}, dtype: float32}}
data:
  max_prompt_tokens: 400
  cache: {folder}/cache
  sources: {sources}
rollout: {{group_size: 4, prompts_per_step: 8, max_new_tokens: 8}}
policy: {{tokens_per_micro_batch: 2048, learning_rate: 0.01}}
verifiers: {{even: {{use: constraints}}}}
stages:
  - {{name: po, kind: preference, steps: 12, steps_per_round: 4, prompts_per_round: 20, pairs_per_step: 8, save_every: 3,
     beta: 0.5, selection: {{max_tokens: 1000, held_out: 0.2}}}}
"""

CATALOGUE = "{ui: {kind: catalogue, languages: [de], verifier: even, max_words: 4}}"


class InProcess:
    """Generator, verifiers, mapper, learner and sync in one: the tiny model answers, and even tokens are good ones."""

    workers = 1

    def __init__(self, config, folder):
        self.config, self.stage = config, config.stages[0]
        self.policy, self.engine = PackedPolicy(load_model(folder, "float32"), 64, AlignedHead), plain_model(folder)
        self.frozen = PackedPolicy(load_model(folder, "float32"), 64)
        self.optimizer = torch.optim.AdamW(self.policy.parameters(), lr=config.policy.learning_rate)
        self.version, self.annotated, self.sampled, self.resting = -1, 0, [], False

    async def rest(self):
        self.resting = True

    async def generate(self, prompts, samples):
        assert not self.resting, "new weights come first"
        for prompt in reversed(prompts):
            yield Group(prompt, self._sample(prompt, samples))

    @torch.no_grad()
    def _sample(self, prompt, samples):
        past, last, sampled = None, torch.tensor([prompt.token_ids] * samples), []
        for _ in range(8):
            output = self.engine(last, past_key_values=past, use_cache=True)
            past, last = output.past_key_values, torch.distributions.Categorical(logits=output.logits[:, -1]).sample()[:, None]
            sampled.append(last)
        tokens = torch.cat(sampled, 1)
        self.sampled.append(float((tokens % 2 == 0).float().mean()))
        made = [rollout(t, np.zeros(8), self.version) for t in tokens.numpy()]
        return tuple(dataclasses.replace(r, text=" ".join(map(str, r.token_ids))) for r in made)

    async def verify(self, group):
        verdicts = [scored(float((r.token_ids % 2 == 0).mean()), verifier="even") for r in group.rollouts]
        return ScoredGroup(group.prompt, group.rollouts, tuple(verdicts))

    def each(self, waited_for, items, function):
        return (function(**item) for item in items)

    async def annotate(self, batches):
        self.annotated += 1
        return [
            dataclasses.replace(
                batch,
                micro_batches=tuple(
                    dataclasses.replace(m, reference_logprobs=score(self.frozen, m, 1.0)) for m in batch.micro_batches
                ),
            )
            for batch in batches
        ]

    def _trainer(self):
        trainer = PreferenceTrainer.__new__(PreferenceTrainer)  # its packing and loss without DeepSpeed's engine
        trainer.engine = self.policy
        return trainer

    def _loss(self, batch, micro_batch):
        stage, weighting = self.stage, self.stage.weighting
        weighting = weighting and Weighting(weighting.alignment, weighting.clamp)
        objective = Objective(stage.loss, stage.beta, weighting=weighting, nll_weight=stage.nll_weight)
        whole = Whole(1, batch.global_rollouts // 2, batch.divergence)
        return preference_loss(objective, whole, *self._trainer()._sides(micro_batch, batch, objective))

    async def update(self, batches, step):
        assert self.resting or not self.stage.samples, "the learner has the memory"
        metrics = await self.evaluate(batches, train=True)
        self.optimizer.step()
        self.optimizer.zero_grad()
        return StepResult(metrics.pop("loss"), 1.0, 0.0, 100, metrics)

    async def evaluate(self, batches, train=False):
        total, sums = 0.0, {}
        for micro_batch in batches[0].micro_batches:
            loss, parts = self._loss(batches[0], micro_batch)
            total += float(loss.detach())
            if train:
                loss.backward()
            sums = {name: sums.get(name, 0.0) + float(value) for name, value in parts.items()}
        pairs = sums.pop("pairs")
        return {"loss": total, "pairs": int(pairs), **{name: value / pairs for name, value in sums.items()}}

    async def divergence(self, batches):
        return self._trainer().log_ratios(batches[0]) / batches[0].global_rollouts

    async def save(self, folder):
        torch.save({"policy": self.policy.state_dict(), "optimizer": self.optimizer.state_dict()}, folder / "state.pt")

    async def load(self, folder):
        state = torch.load(folder / "state.pt")
        self.policy.load_state_dict(state["policy"])
        self.optimizer.load_state_dict(state["optimizer"])

    async def push(self, version):
        self.engine.load_state_dict(self.policy.model.state_dict())
        self.version, self.resting = version, False


def run(tmp_path, model, *changes, kind=InProcess, mode=Mode.NEW, sources=CATALOGUE):
    torch.manual_seed(0)
    (tmp_path / "c.yaml").write_text(CONFIG.format(folder=tmp_path, model=model, sources=sources))
    config = load(tmp_path / "c.yaml", [f"stages.0.{change}" for change in changes])
    asked, tokenizer = config.stages[0], load_tokenizer(model)
    own = kind(config, model)
    with RunFolder.create(config, dump(config), mode) as folder:
        stream = PromptStream(config.data, 0, tokenizer, rejects=folder.path / "rejects.jsonl")
        place = folder.stage(0, "po")
        journal = PreferenceJournal(folder, place, "po", asked.steps, 2, Progress())
        answers = Competing(own if asked.samples else None, own, tokenizer, stream.answers if asked.answers != "sampled" else {})
        cache = ReferenceCache(config.data.cache, model, "float32")
        reference = own if asked.needs_reference else None
        parts = Parts(answers, own, reference, cache, own, own if asked.samples else None)
        with listening(journal.stop):
            asyncio.run(train_preferences(parts, stream, journal, config, asked))
    return SimpleNamespace(folder=place, own=own, rows=read(place.metrics), validation=read(place.validation))


@pytest.fixture(scope="module")
def finished(tiny_model, tmp_path_factory):
    return run(tmp_path_factory.mktemp("finished"), tiny_model, "weighting={alignment: sampled}")


def test_the_policy_comes_to_answer_as_is_preferred(finished):
    first, last = np.mean(finished.own.sampled[:20]), np.mean(finished.own.sampled[-20:])
    assert last > first + 0.15
    assert finished.validation[-1]["accuracy"] > 0.8
    assert finished.validation[-1]["loss"] < finished.validation[0]["loss"]


def test_the_first_step_knows_no_difference_from_the_reference(finished):
    assert finished.rows[0]["reward_margin"] == pytest.approx(0, abs=1e-5)
    assert finished.validation[0]["reward_margin"] == pytest.approx(0, abs=1e-5)


def test_rows_are_complete(finished):
    rows = finished.rows
    assert [row["step"] for row in rows] == list(range(12))
    assert [row["round"] for row in rows] == [0] * 4 + [1] * 4 + [2] * 4
    assert [row["step"] for row in finished.validation] == [0, 4, 8, 12]
    wanted = {"epoch", "loss", "accuracy", "reward_margin", "logprob/chosen", "logprob/rejected", "length/chosen", "nll"}
    assert (
        wanted | {"grad_norm", "learning_rate", "tokens", "pairs", "policy_version", "time/train", "time/step"} <= rows[0].keys()
    )
    assert all(row["pairs"] == 8 for row in rows)


def test_pairs_lie_by_round_and_say_who_made_them(finished):
    for number in range(3):
        folder = finished.folder.pairs / f"round-{number}"
        pairs = [*read_pairs(folder / "pairs.parquet"), *read_pairs(folder / "held_out.parquet")]
        assert {pair.chosen.origin for pair in pairs} == {f"policy@{4 * number}"}
        assert all(pair.chosen.score > pair.rejected.score for pair in pairs)
        assert {pair.prompt.cursor for pair in pairs} <= set(range(20 * number, 20 * number + 20))
    rounds = read(finished.folder.rounds)
    assert [row["round"] for row in rounds] == [0, 1, 2]
    assert [row["policy_version"] for row in rounds] == [0, 4, 8]


def test_held_out_prompts_are_never_trained(finished):
    training, held_out = (
        {pair.prompt.id for path in finished.folder.pairs.glob(f"*/{name}.parquet") for pair in read_pairs(path)}
        for name in ("pairs", "held_out")
    )
    assert held_out and not training & held_out


@pytest.mark.parametrize("dies_at", [2, 4, 7])
def test_a_killed_run_goes_on_as_if_nothing_had_been(tiny_model, tmp_path, finished, dies_at):
    class Dies(InProcess):
        async def update(self, batches, step):
            if step == dies_at:
                raise KeyboardInterrupt
            return await super().update(batches, step)

    weighting = "weighting={alignment: sampled}"
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tiny_model, weighting, kind=Dies)
    made = sorted((tmp_path / "run").rglob("*.parquet"))
    stamps = [path.stat().st_mtime_ns for path in made]
    again = run(tmp_path, tiny_model, weighting, mode=Mode.RESUME)
    assert [row["step"] for row in again.rows] == list(range(12))
    assert [row["step"] for row in again.validation] == [0, 4, 8, 12]
    assert stamps == [path.stat().st_mtime_ns for path in made], "nothing is sampled or chosen again"
    versions = [row["policy_version"] for row in read(again.folder.metrics, superseded=True)]
    assert versions == sorted(set(versions))
    # Samples of later rounds are drawn anew, so it is the first round that must be the same.
    for row, other in zip(again.rows[:4], finished.rows[:4], strict=True):
        assert row["loss"] == pytest.approx(other["loss"], abs=1e-5)
        assert row["reward_margin"] == pytest.approx(other["reward_margin"], abs=1e-4)


def test_a_run_that_dies_while_it_samples_keeps_whole_chunks(tiny_model, tmp_path):
    class Dies(InProcess):
        async def generate(self, prompts, samples):
            if prompts[0].cursor >= 8:
                raise KeyboardInterrupt
            async for group in super().generate(prompts, samples):
                yield group

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, tiny_model, kind=Dies)
    (chunk,) = (tmp_path / "run").rglob("chunk-*.parquet")
    stamp = chunk.stat().st_mtime_ns
    again = run(tmp_path, tiny_model, mode=Mode.RESUME)
    assert chunk.stat().st_mtime_ns == stamp
    assert len(again.own.sampled) == 60 - 8


@pytest.mark.parametrize("asked_at", ["while it samples", "while it trains"])
def test_a_run_that_is_asked_to_stop_saves_what_it_has(tiny_model, tmp_path, asked_at):
    class Asked(InProcess):
        async def generate(self, prompts, samples):
            if asked_at == "while it samples":
                signal.raise_signal(signal.SIGTERM)
            async for group in super().generate(prompts, samples):
                yield group

        async def update(self, batches, step):
            if step == 1:
                signal.raise_signal(signal.SIGTERM)
            return await super().update(batches, step)

    with pytest.raises(Stopped):
        run(tmp_path, tiny_model, kind=Asked)
    made = sorted((tmp_path / "run").rglob("chunk-*.parquet"))
    stamps = [path.stat().st_mtime_ns for path in made]
    assert made
    again = run(tmp_path, tiny_model, mode=Mode.RESUME)
    assert stamps == [path.stat().st_mtime_ns for path in made], "nothing is sampled again"
    assert len(read(again.folder.metrics, superseded=True)) == 12, "no step is done twice"


def test_the_reference_is_asked_once_for_the_same_pairs(tiny_model, tmp_path):
    first = run(tmp_path, tiny_model, "steps_per_round=null")
    again = run(tmp_path, tiny_model, "steps_per_round=null", "loss=ipo", mode=Mode.FRESH)
    assert first.own.annotated > 0
    assert again.own.annotated == 0
    assert again.rows[0]["reward_margin"] == pytest.approx(0, abs=1e-5)


LOSSES = [
    ["loss=dpo_norm"],
    ["loss=ipo", "weighting={alignment: greedy, clamp: false}"],
    ["loss=simpo", "margin=0.3", "weighting={alignment: none}"],
    ["loss=orpo", "nll_weight=1.0"],
    ["loss=kto"],
]


@pytest.mark.parametrize("changes", LOSSES, ids=lambda changes: changes[0])
def test_every_loss_through_the_stage(tiny_model, tmp_path, changes):
    found = run(tmp_path, tiny_model, *changes, "answers=both")
    assert found.rows[-1]["reward_margin"] > found.rows[0]["reward_margin"] + 0.02
    assert (found.own.annotated > 0) == (changes[0] not in ("loss=simpo", "loss=orpo"))


def test_too_few_pairs_stop_the_run_with_the_reasons(tiny_model, tmp_path):
    with pytest.raises(
        RunError, match=r"round 0 made \d pairs of 20 prompts, fewer than the 8 of a step; dropped: .*over-length"
    ):
        run(tmp_path, tiny_model, "selection.max_tokens=60")


def test_a_loss_that_is_no_number_stops_the_run(tiny_model, tmp_path):
    class Breaks(InProcess):
        async def update(self, batches, step):
            self.policy.model.model.norm.weight.data.fill_(float("nan"))
            return await super().update(batches, step)

    with pytest.raises(RunError, match="the loss is not a number"):
        run(tmp_path, tiny_model, kind=Breaks)
    assert json.loads((tmp_path / "run" / "manifest.json").read_text())["status"] == "failed"


def test_a_finished_run_goes_on_to_more_steps(tiny_model, tmp_path):
    run(tmp_path, tiny_model, "steps=6")
    again = run(tmp_path, tiny_model, "steps=10", mode=Mode.RESUME)
    assert [(row["step"], row["round"]) for row in again.rows] == [(step, step // 4) for step in range(10)]
    assert [row["round"] for row in read(again.folder.rounds)] == [0, 1, 2]


def test_given_answers_by_the_order_of_their_origins_need_neither_engine_nor_scores(tiny_model, tmp_path):
    words = ["Haus", "Baum", "Meer", "Wald", "Tisch", "Licht", "Berg", "Fluss", "Stein", "Brot", "Kind", "Stadt"]
    lines = [
        {
            "id": word,
            "prompt": f"Wie heisst {word}?",
            "answers": [{"text": f"Es heisst {word}.", "origin": "post_edit"}, {"text": word.upper(), "origin": "machine"}],
        }
        for word in words
    ]
    (tmp_path / "given.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    found = run(
        tmp_path,
        tiny_model,
        "answers=given",
        "selection={rule: ranked, order: [post_edit, machine], max_tokens: 500, held_out: 0.2}",
        "steps_per_round=null",
        "prompts_per_round=12",
        "pairs_per_step=4",
        sources=f"{{given: {{kind: answers, path: {tmp_path}/given.jsonl}}}}",
    )
    assert found.own.sampled == [] and found.own.version == -1
    pairs = list(read_pairs(found.folder.pairs / "round-0" / "pairs.parquet"))
    assert {(pair.chosen.origin, pair.rejected.origin) for pair in pairs} == {("post_edit", "machine")}
    assert found.rows[-1]["accuracy"] == 1.0
