"""Packs of a stage, end to end, and the deadline of their making."""

import json
import os
import time

import pytest
import ray

from actors.corpora import await_working, prepared
from tower_rl.config.load import load
from tower_rl.data.corpus import recipe
from tower_rl.data.pack_reader import PackReader
from tower_rl.protocols import DeadlineExceeded

pytestmark = pytest.mark.ray

CONFIG = """
run: {{name: tiny, dir: {folder}/run}}
model: {{path: {model}, dtype: float32}}
data:
  corpora:
    pairs: {{kind: jsonl, path: {folder}/p.jsonl}}
    texts: {{kind: text, path: {folder}/t.txt, language: en, document: file}}
  parallel: {{pivots: 1}}
  cache: {folder}/cache
stages: [{{name: s, kind: cpt, steps: 3, sequence_length: 128, held_out: 0.1}}]
"""


def test_pivots_reach_the_packs(cluster, tiny_model, tmp_path):
    rows = [
        {"source_lang": "en", "target_lang": code, "source": f"Field {n} is required.", "target": f"{code.upper()} field {n}!"}
        for n in range(50)
        for code in ("de", "fr")
    ]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "t.txt").write_text("A plain text stays as it is.\n")
    (tmp_path / "config.yaml").write_text(CONFIG.format(folder=tmp_path, model=tiny_model))
    config = load(tmp_path / "config.yaml", [])
    folder = prepared(config, config.stages[0], recipe.parts(config.data), tiny_model, tmp_path / "about")
    contents = PackReader(folder).contents()
    streams = set(contents.training)
    assert {"pairs/de-fr", "texts/en"} <= streams | set(contents.held_out)
    index = json.loads((tmp_path / "about" / "index.json").read_text())
    assert index["corpora"]["pairs"]["kept"] == 150 and index["corpora"]["pairs"]["made"] == 50
    assert [path.name[:5] for path in sorted((tmp_path / "cache").iterdir())] == ["packs", "rows-"]


@ray.remote
def work(sign, seconds, every):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(every)
        os.utime(sign)


def test_a_deadline_for_those_who_show_no_work(cluster, tmp_path):
    sign = tmp_path / "sign"
    sign.touch()
    ray.get(work.remote(sign, 0, 0), timeout=60)
    began = time.monotonic()
    await_working("work", work.remote(sign, 5, 0.2), sign, 1.5)
    assert time.monotonic() - began > 4
    with pytest.raises(DeadlineExceeded, match="gave up waiting for work after 1 s without progress"):
        await_working("work", work.remote(sign, 20, 20), sign, 1)
