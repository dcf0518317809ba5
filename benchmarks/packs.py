"""Packing, files of packs and the mixture: `python benchmarks/packs.py [DOCUMENTS]` (default a million), in a temporary folder.

Documents are drawn as long as translated segments (20 to 200 tokens) or as texts of the web (log-normal, median 400, cut at the
length of a pack), with token ids that are distributed as words are. Times are CPU seconds of the process, so that
waiting for the disk or for other processes is not in them.
"""

import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa

from tower_rl.data.mixture import Mixture
from tower_rl.data.pack_reader import PackReader
from tower_rl.data.pack_writer import write
from tower_rl.data.packing import pack, packs
from tower_rl.data.packs import PackRef

ROWS = 1000
LANGUAGES = 10
WINDOW = 10_000
RANDOM = np.random.default_rng(0)


def segments(count: int) -> np.ndarray:
    return np.clip(RANDOM.lognormal(np.log(60), 0.6, count), 20, 200).astype(int)


def web(count: int, longest: int) -> np.ndarray:
    return np.clip(RANDOM.lognormal(6, 1.1, count), 1, longest).astype(int)


def table(words: np.ndarray) -> pa.Table:
    """Segments in ten languages; every hundredth is held out."""
    lengths = segments(ROWS)
    offsets = np.cumsum([0, *lengths]).astype(np.int32)
    start = RANDOM.integers(0, len(words) - offsets[-1])
    trained = np.ones(offsets[-1], np.bool_)
    trained[offsets[:-1]] = False
    columns = {
        "id": [""] * ROWS,
        "corpus": ["c"] * ROWS,
        "language": [f"l{row % LANGUAGES}" for row in range(ROWS)],
        "held_out": [row % 100 == 0 for row in range(ROWS)],
        "token_ids": pa.ListArray.from_arrays(offsets, words[start : start + offsets[-1]]),
        "trained": pa.ListArray.from_arrays(offsets, trained),
        "dropped": [""] * ROWS,
    }
    return pa.table(columns)


def seconds(work: Callable[[], object]) -> float:
    start = time.process_time()
    work()
    return time.process_time() - start


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fills(count: int) -> None:
    for capacity in (512, 1024, 4096):
        for kind, lengths in (("segments", segments(count).tolist()), ("web", web(count, capacity).tolist())):
            start = time.process_time()
            found = pack(lengths, capacity)
            rate = count / (time.process_time() - start)
            windows = sum(len(pack(lengths[at : at + WINDOW], capacity)) for at in range(0, count, WINDOW))
            full = sum(lengths) / capacity
            filled = f"fill {full / len(found):.2%}, by windows {full / windows:.2%}"
            print(f"pack {kind} into {capacity}: {rate:.0f} documents/s, {filled}")


def files(count: int, folder: Path) -> None:
    words = (RANDOM.zipf(1.2, 1_000_000) % 49_152).astype(np.int32)
    source = [table(words) for _ in range(100)] * (count // ROWS // 100)
    took = seconds(lambda: sum(1 for _ in packs(source, 1024, WINDOW)))
    print(f"packs of tables: {count / took:.0f} documents/s; peak of the process {peak_mib():.0f} MiB")
    took = seconds(lambda: write(folder, packs(source, 1024, WINDOW), sequence_length=1024, dropped={}, facts={}))
    reader = PackReader(folder)
    parts = [*reader.index.training.values(), *reader.index.held_out.values()]
    total, tokens = sum(part.packs for part in parts), sum(part.tokens for part in parts)
    size = sum(file.bytes for file in reader.index.files)
    print(f"packed and written: {count / took:.0f} documents/s, {total / took:.0f} packs/s")
    print(f"files: {total} packs, {tokens} tokens, fill {tokens / total / 1024:.2%}, {size / tokens:.2f} bytes a token")
    print(f"peak of the process behind writing: {peak_mib():.0f} MiB")
    print(f"verify: {tokens / seconds(reader.verify) / 1e6:.0f} million tokens/s")
    mixed = mixture(reader)
    refs = [ref for step in range(250) for ref in mixed.step(step)]
    rate = len(refs) / seconds(lambda: [reader.read(ref) for ref in refs])
    print(f"packs read in the mixture's order: {rate:.0f} packs/s")
    refs = [PackRef("c/l1", place, 0, 0) for place in range(reader.index.training["c/l1"].packs)]
    rate = len(refs) / seconds(lambda: [reader.read(ref) for ref in refs])
    print(f"packs read one after the other: {rate:.0f} packs/s")
    print(f"peak of the process behind reading: {peak_mib():.0f} MiB")
    order(reader)


def order(reader: PackReader, count: int = 1_000_000) -> None:
    """The mixture itself, over a million packs of steps."""
    mixed = mixture(reader)
    start = time.process_time()
    given, step = 0, 0
    while given < count:
        given += len(mixed.step(step))
        step += 1
    print(f"mixture: {given / (time.process_time() - start):.0f} packs/s")
    state = mixed.state_dict()
    print(f"resumed behind {given} packs: {seconds(lambda: mixture(reader).load_state_dict(state)):.3f} s")


def mixture(reader: PackReader) -> Mixture:
    return Mixture(reader.contents(), weights={}, language_temperature=0.5, seed=0, tokens_per_step=8192)


def main() -> None:
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with tempfile.TemporaryDirectory() as folder:
        files(count, Path(folder) / "packs")
    fills(count)


main()
