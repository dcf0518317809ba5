"""Rows a second and memory of the preparation of corpora: `python benchmarks/data.py FOLDER [TIMES]`.

FOLDER has *.jsonl.gz with src_lang, tgt_lang, source, target. All of it is read TIMES times over (1), under other corpus
names, so that from the second time on all rows are duplicates: memory must not grow with the rows. Every step
is on but decontamination and the verifier.
"""

import gzip
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import psutil
import pyarrow as pa

from actors.datasets import Recipe, prepare
from clusters.connect import connect
from tower_rl.config.corpora import Cleaning
from tower_rl.config.schema import Cluster
from tower_rl.data.corpus.records import RECORDS

ROWS = 5000


def tables(part: tuple[int, Path]) -> Iterator[pa.Table]:
    """The pairs of a file."""
    time_, path = part
    with gzip.open(path, "rt", encoding="utf-8") as file:
        lines = enumerate(file)
        while some := list(islice(lines, ROWS)):
            yield pa.Table.from_pylist([row(time_, path.name, number, json.loads(line)) for number, line in some], RECORDS)


def row(time_: int, name: str, number: int, value: dict[str, str]) -> dict[str, object]:
    """One pair."""
    language = f"{value['src_lang']}-{value['tgt_lang'].replace('-', '_')}"
    empty = {"text": "", "messages": [], "document": "", "position": number, "dropped": "", "detail": ""}
    own = {"id": f"bench{time_}/{name}/{number}", "corpus": f"bench{time_}", "licence": value["licence"], "kind": "pair"}
    return empty | own | {"language": language, "original": value["source"], "translation": value["target"]}


class Memory:
    """The most private memory (resident, not shared) of this process and of Ray's workers, alone and together; their CPU time."""

    def __init__(self) -> None:
        self.driver = self.worker = self.workers = 0
        self.seconds: dict[int, float] = {}
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self) -> None:
        own = psutil.Process()
        while True:
            workers = [0]
            for process in own.children(recursive=True):
                try:
                    if process.name().startswith("ray::"):
                        workers.append(private(process))
                        used = process.cpu_times()
                        self.seconds[process.pid] = used.user + used.system
                except psutil.NoSuchProcess:
                    continue
            self.driver = max(self.driver, private(own))
            self.worker, self.workers = max(self.worker, *workers), max(self.workers, sum(workers))
            time.sleep(0.3)


def private(process: psutil.Process) -> int:
    """MiB."""
    memory = process.memory_info()
    return (memory.rss - memory.shared) // 2**20


def main() -> None:
    """Prints the figures."""
    folder, times = Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1
    parts = [(time_, path) for time_ in range(times) for path in sorted(folder.glob("*.jsonl.gz"))]
    cleaning = Cleaning(language_confidence=0.9, near_duplicates=0.8)
    with tempfile.TemporaryDirectory() as out, connect(Cluster(), os.cpu_count() or 1):
        memory = Memory()
        recipe = Recipe(parts, tables, cleaning, [], {f"bench{time_}": 0.01 for time_ in range(times)})
        begin = time.perf_counter()
        index = prepare(recipe, Path(out) / "prepared", 300)
        seconds = time.perf_counter() - begin
        begin = time.perf_counter()
        prepare(recipe, Path(out) / "prepared", 300)
        again = time.perf_counter() - begin
    del index["corpora"], index["shards"]
    print(json.dumps(index, indent=1))
    print(f"{index['read']} rows in {seconds:.1f} s: {index['read'] / seconds:.0f} rows/s; again: {again * 1000:.1f} ms")
    print(f"{sum(memory.seconds.values()):.0f} CPU seconds of workers, Ray's own included: {os.cpu_count()} cores")
    print(f"most private memory in MiB: driver {memory.driver}, a worker {memory.worker}, all workers {memory.workers}")


if __name__ == "__main__":
    main()
