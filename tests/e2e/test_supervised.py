"""Supervised stages as a user runs them, on the tiny model: killed in every way, resumed, equal to the uninterrupted run."""

import itertools
import json
import os
import re
import signal
from types import SimpleNamespace

import pytest
import torch
from processes import family, start, survivors, wait_until, writers
from transformers import AutoModelForCausalLM, AutoTokenizer

from tower_rl import checkpoint
from tower_rl.reporting.metrics import read

pytestmark = [pytest.mark.ray, pytest.mark.slow, pytest.mark.timeout(1500)]

STEPS, SAVE, VALIDATE = 18, 3, 8
TOKENS = 16_384
"""Of a step: more than a second, so that a run does not end before it is interrupted, which takes seconds."""
PAIR_STEPS = 10
PAIR = ("policy.workers=2", "policy.lora={rank: 4, alpha: 8}", "policy.learning_rate=0.02")
DEADLINE = 400

CONFIG = """
run: {{name: tiny, dir: {folder}}}
model: {{path: {model}, dtype: float32}}
data:
  cache: {cache}
  corpora:
    {corpus}
policy: {{workers: 1, zero_stage: 0, tokens_per_micro_batch: 256, learning_rate: 0.003, schedule: cosine, warmup_steps: 2}}
stages:
  - name: {kind}
    kind: {kind}
    steps: {steps}
    tokens_per_step: {tokens}
    sequence_length: 128
    held_out: 0.05
    evaluate_every: 8
    save_every: 3
"""
DJANGO = "django: {kind: gettext, languages: [de, fr]}"
VARYING = {"attempt", "tokens_per_second", "flops_share", "memory_gib"}
"""Metrics that no two runs share; times do not, either."""


def write(folder, model, **values):
    """A configuration in a folder, with a cache of its own if no other is named."""
    folder.mkdir(exist_ok=True)
    defaults = {"corpus": DJANGO, "kind": "sft", "steps": STEPS, "tokens": TOKENS, "cache": folder / "cache"}
    config = folder / "tiny.yaml"
    config.write_text(CONFIG.format(folder=folder / "run", model=model, **defaults | values))
    return config


def stage_of(config):
    (stage,) = (config.parent / "run" / "stages").glob("0-*")
    return stage


def finish(config, *flags, process=None):
    """Exit code and output."""
    process = process or start(config, *flags)
    output, _ = process.communicate(timeout=DEADLINE)
    return SimpleNamespace(code=process.returncode, output=output)


def go_on(config, attempt, step, *flags, process=None, steps=STEPS):
    """A run whose attempt has written the row of a step, and has not ended."""
    process = process or start(config, *flags)

    def rows():
        return [row for path in config.parent.glob("run/stages/0-*/metrics.jsonl") for row in read(path)]

    wait_until(lambda: any(row["attempt"] == attempt and row["step"] >= step for row in rows()), DEADLINE, process, 0.05)
    assert rows()[-1]["step"] < steps - 1, "too fast for this test"
    return process


def rank_of(process, config, rank=0):
    """The process of a rank: it alone, of all, writes into the rank's log."""
    (log,) = (config.parent / "run" / "logs").glob(f"*-{rank}.log")
    (pid,) = writers(log, family(process.pid))
    return pid


def curve(path):
    """Metric rows without what no two runs share."""
    return [
        {key: value for key, value in row.items() if key not in VARYING and not key.startswith("time/")} for row in read(path)
    ]


def model_bytes(stage, steps):
    return (stage / "checkpoints" / f"step-{steps}" / "hf" / "model-00001.safetensors").read_bytes()


def assert_same(config, other, steps=STEPS):
    """Metrics, validation and weights of two runs, bit by bit."""
    stage, wanted = stage_of(config), stage_of(other)
    assert curve(stage / "metrics.jsonl") == curve(wanted / "metrics.jsonl")
    assert curve(stage / "validation.jsonl") == curve(wanted / "validation.jsonl")
    assert model_bytes(stage, steps) == model_bytes(wanted, steps)


def assert_usable(stage, model, steps):
    """The export loads in plain transformers, and was trained."""
    folder = stage / "checkpoints" / f"step-{steps}" / "hf"
    made, start_ = (AutoModelForCausalLM.from_pretrained(f, dtype=torch.float32) for f in (folder, model))
    assert made.state_dict().keys() == start_.state_dict().keys()
    name = "model.layers.0.mlp.down_proj.weight"
    assert not torch.equal(made.state_dict()[name], start_.state_dict()[name])
    ids = torch.tensor([AutoTokenizer.from_pretrained(folder).encode("the sea")])
    assert torch.isfinite(made(ids).logits).all()


def times(folder):
    return {path: path.stat().st_mtime_ns for path in sorted(folder.rglob("*"))}


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    return tmp_path_factory.mktemp("supervised")


@pytest.fixture(scope="module")
def whole(base, tiny_model):
    """An uninterrupted run: its configuration, and what it said."""
    config = write(base / "whole", tiny_model, cache=base / "cache")
    done = finish(config)
    assert done.code == 0, done.output
    return SimpleNamespace(config=config, stage=stage_of(config), output=done.output)


@pytest.fixture(scope="module")
def tortured(whole, base, tiny_model):
    """The same run: its rank stopped, its driver killed, interrupted by Ctrl-C, its rank killed for good, and left alone."""
    config, left = write(base / "tortured", tiny_model, cache=base / "cache"), []
    before = times(base / "cache")

    process = go_on(config, 1, SAVE + 1, "policy.step_timeout_s=15")
    os.kill(rank_of(process, config), signal.SIGSTOP)
    go_on(config, 1, 2 * SAVE + 1, process=process)
    relatives = family(process.pid)
    process.kill()
    stood_still, _ = process.communicate(timeout=60)
    report = (stage_of(config).parents[1] / "report.html").read_text()
    left += survivors(relatives)

    process = go_on(config, 2, 3 * SAVE + 1, "--resume")
    relatives = family(process.pid)
    process.send_signal(signal.SIGINT)
    interrupted = finish(config, process=process)
    left += survivors(relatives)

    process = go_on(config, 3, 4 * SAVE + 1, "--resume", "stages.0.restarts=0")
    relatives = family(process.pid)
    os.kill(rank_of(process, config), signal.SIGKILL)
    lost = finish(config, process=process)
    left += survivors(relatives)

    last = finish(config, "--resume")
    assert last.code == 0, last.output
    return SimpleNamespace(
        config=config,
        left=left,
        stood_still=stood_still,
        report=report,
        interrupted=interrupted,
        lost=lost,
        last=last,
        cache=(before, times(base / "cache")),
    )


def test_the_uninterrupted_run_is_whole(whole, tiny_model):
    rows = read(whole.stage / "metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(STEPS))
    assert rows[-1]["loss"] < rows[0]["loss"] - 0.5
    assert all(row["tokens"] > row["tokens_trained"] > 0 and row["memory_gib"] > 0 for row in rows)
    assert all(abs(row["tokens"] - TOKENS) <= 128 for row in rows), "give or take a pack"
    validation = read(whole.stage / "validation.jsonl")
    assert [row["step"] for row in validation] == [0, VALIDATE, 2 * VALIDATE, STEPS]
    assert validation[-1]["loss"] < validation[0]["loss"]
    assert [path.name for path in checkpoint.complete(whole.stage)] == [f"step-{STEPS - SAVE}", f"step-{STEPS}"]
    checkpoint.verify(checkpoint.latest(whole.stage))
    assert_usable(whole.stage, tiny_model, STEPS)


def test_screen_and_report_tell_all_of_it(whole):
    lines = whole.output.splitlines()
    shown = [int(line.removeprefix("step").partition("/")[0]) for line in lines if line.startswith("step ")]
    assert shown == list(range(1, STEPS + 1))
    validated = [int(line.split()[2]) for line in lines if line.startswith("validation after")]
    assert validated == [0, VALIDATE, 2 * VALIDATE, STEPS]
    for part in ("Corpora:", "Validation loss", "Mixture", "Where everything lies"):
        assert part in whole.output
    report = (whole.config.parent / "run" / "report.html").read_text()
    assert "finished" in report and "Validation loss" in report and "mean reward" not in report
    index = json.loads((whole.stage / "data" / "index.json").read_text())["corpora"]["django"]
    assert index["read"] == index["kept"] + sum(index["dropped"].values())


def test_nothing_outlives_a_run_that_is_killed_interrupted_or_lost(tortured):
    assert tortured.left == []


def test_ctrl_c_is_exit_code_130(tortured):
    assert tortured.interrupted.code == 130, tortured.interrupted.output
    assert "go on with --resume" in tortured.interrupted.output
    assert "Traceback" not in tortured.interrupted.output


def test_a_lost_rank_without_restarts_is_named(tortured):
    assert tortured.lost.code == 1, tortured.lost.output
    (line,) = [line for line in tortured.lost.output.splitlines() if line.startswith("the run stopped")]
    assert "rank 0 of the stage is lost" in line
    assert "Traceback" not in tortured.lost.output


def test_all_that_befell_it_changed_nothing(tortured, whole):
    assert_same(tortured.config, whole.config)
    rows = read(stage_of(tortured.config) / "metrics.jsonl", superseded=True)
    assert {row["attempt"] for row in rows} == {1, 2, 3, 4}
    assert len(rows) > STEPS, "what was done again is kept, marked"


def test_prepared_packs_are_taken_from_the_cache(tortured):
    before, after = tortured.cache
    assert before == after
    assert len([path for path in before if path.name.startswith("packs-")]) == 1


def test_a_run_whose_driver_was_killed_has_left_a_report(tortured):
    assert "running" in tortured.report and "Validation loss" in tortured.report


def test_a_rank_that_stands_still_is_ended_and_told_of(tortured):
    (line,) = [line for line in tortured.stood_still.splitlines() if line.startswith("warning: ")]
    told = (
        r"gave up waiting for rank 0 after 15 s without progress \(policy\.step_timeout_s\); last heard: rank 0: .*; it is ended"
    )
    assert re.fullmatch(f"warning: {told}", line)


def test_it_comes_back_from_the_newest_checkpoint(tortured):
    """In the attempt that lost it, whose driver is killed only later."""
    first = [row["step"] for row in read(stage_of(tortured.config) / "metrics.jsonl", superseded=True) if row["attempt"] == 1]
    again = next(i for i, (step, after) in enumerate(itertools.pairwise(first)) if after <= step) + 1
    assert first[again] % SAVE == 0 and first[again] > 0, "from a checkpoint"
    assert first == [*range(again), *range(first[again], first[-1] + 1)], "the rows past the checkpoint are kept, marked"


@pytest.fixture(scope="module")
def pair(base, tiny_model):
    """Two configurations alike, of continued pretraining of adapters by two ranks; the first has run, and its output."""
    texts = base / "texts.txt"
    texts.write_text("".join(f"The sea was calm on day {number} of {number % 7 + 2}.\n" for number in range(2000)))
    corpus = f"sea: {{kind: text, path: {texts}, language: en}}"
    values = {"corpus": corpus, "kind": "cpt", "steps": PAIR_STEPS, "cache": base / "texts"}
    configs = [write(base / name, tiny_model, **values) for name in ("pair", "lone")]
    done = finish(configs[0], *PAIR)
    assert done.code == 0, done.output
    return configs


def test_two_ranks_pretrain_adapters(pair, tiny_model):
    stage = stage_of(pair[0])
    assert_usable(stage, tiny_model, PAIR_STEPS)
    for row in read(stage / "metrics.jsonl"):
        assert row["tokens_trained"] > 0.9 * row["tokens"], "all but the first token of each document"
    assert {path.stem for path in (pair[0].parent / "run" / "logs").glob("*.log")} == {"cpt-0", "cpt-1", "driver"}


def test_one_of_two_ranks_is_lost(pair):
    """The other one notices, and both begin again; the same as without the loss."""
    process = go_on(pair[1], 1, SAVE + 1, *PAIR, steps=PAIR_STEPS)
    os.kill(rank_of(process, pair[1], rank=1), signal.SIGKILL)
    done = finish(pair[1], process=process)
    assert done.code == 0, done.output
    assert_same(pair[1], pair[0], PAIR_STEPS)
    everything = read(stage_of(pair[1]) / "metrics.jsonl", superseded=True)
    assert len(everything) > PAIR_STEPS and {row["attempt"] for row in everything} == {1}


def test_too_many_bad_rows_are_shown_and_refused(tmp_path, tiny_model):
    rows = tmp_path / "rows.jsonl"
    good = json.dumps({"messages": [{"role": "user", "content": "Hi."}, {"role": "assistant", "content": "Hello."}]})
    rows.write_text("".join(f"{good if number % 2 else '{broken'}\n" for number in range(40)))
    config = write(tmp_path / "bad", tiny_model, corpus=f"chats: {{kind: jsonl, path: {rows}}}")
    done = finish(config)
    assert done.code == 2, done.output
    assert "corpus 'chats': 20 of 40 rows are bad, more than max_rejects = 0.01" in done.output
    assert done.output.count("rows.jsonl") == 10, "the first ten, with their places"
    assert "Traceback" not in done.output


def test_a_corpus_that_is_not_there_is_refused_before_ray_starts(tmp_path, tiny_model):
    config = write(tmp_path / "absent", tiny_model, corpus="chats: {kind: jsonl, path: /nowhere/rows.jsonl}")
    done = finish(config)
    assert done.code == 2, done.output
    assert "/nowhere/rows.jsonl" in done.output and "chats" in done.output
    assert "starting Ray" not in done.output and "Traceback" not in done.output
