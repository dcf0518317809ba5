"""A stage that trains on rows while they are prepared: the tiny model, two ranks, several epochs, and a resume."""

import json
import time
from pathlib import Path

import pytest

from actors.streams import streamed, within
from actors.supervised import Settings, Streaming, fit
from tower_rl.config.load import load
from tower_rl.data.corpus import recipe
from tower_rl.protocols import DeadlineExceeded
from tower_rl.reporting.metrics import read
from tower_rl.runfolder import StageFolder

pytestmark = pytest.mark.ray

CONFIG = """
run: {{name: tiny, dir: {folder}/run}}
model: {{path: {model}, dtype: float32}}
data:
  corpora:
    chats: {{kind: jsonl, path: {folder}/c.jsonl, max_rejects: 0.2}}
    pairs: {{kind: jsonl, path: {folder}/p.jsonl}}
policy: {{workers: 2, zero_stage: 0, tokens_per_micro_batch: 512, learning_rate: 0.001}}
stages:
  - {{name: s, kind: sft, steps: 3, tokens_per_step: 3000, sequence_length: 256, held_out: 0.2, feed: streaming, save_every: 3}}
"""


@pytest.fixture
def config(tmp_path: Path, tiny_model: Path) -> Path:
    chats = [{"messages": [{"role": "user", "content": f"Say {n}"}, {"role": "assistant", "content": str(n)}]} for n in range(60)]
    lines = [json.dumps(chat) for chat in chats]
    (tmp_path / "c.jsonl").write_text("\n".join([*lines[:30], "broken", *lines[30:]]) + "\n")
    pair = {"source_lang": "en", "target_lang": "de"}
    pairs = [pair | {"source": f"The field {n} is required.", "target": f"Das Feld {n} ist Pflicht."} for n in range(60)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(each) + "\n" for each in pairs))
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path, model=tiny_model))
    return tmp_path / "config.yaml"


def train(path, folder, model, attempt, *overrides):
    config = load(path, overrides)
    stage = config.stages[0]
    rows = streamed(config, stage, recipe.parts(config.data), model, folder.data)
    how = Streaming(120.0, {name: corpus.max_rejects for name, corpus in config.data.corpora.items()})
    settings = Settings(model, "float32", config.policy, stage, 0, how, folder, attempt, folder.path / "logs", 1)
    fit(settings, gpus=False, start_timeout_s=120, tell=print, rows=rows)
    return read(folder.metrics), read(folder.validation)


@pytest.mark.slow
def test_two_ranks_train_and_go_on(cluster, config, tiny_model, tmp_path):
    folder = StageFolder(tmp_path / "stage")
    folder.path.mkdir()
    rows, validations = train(config, folder, tiny_model, 1)
    assert [row["step"] for row in rows] == [0, 1, 2]
    assert all(row["tokens_trained"] > 0 for row in rows)
    assert validations[0]["loss/pairs"] > validations[-1]["loss/pairs"] and "loss/chats" in validations[0]
    assert rows[-1]["mixture/chats/realised"] + rows[-1]["mixture/pairs/realised"] == pytest.approx(1)
    rows, _ = train(config, folder, tiny_model, 2, "stages.0.steps=9")
    assert [row["step"] for row in rows] == list(range(9))
    assert rows[-1]["mixture/epoch"] >= 1


def test_rows_that_do_not_come_end_the_wait():
    def slow():
        yield "first"
        time.sleep(3)
        yield "second"

    tables = within(0.5, slow())
    assert next(tables) == "first"
    began = time.monotonic()
    with pytest.raises(DeadlineExceeded, match="rows of the corpora after 0 s"):
        next(tables)
    assert time.monotonic() - began < 2
