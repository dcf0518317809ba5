"""The files of one round of pair building, and the way from scored answers to pairs.

    candidates/chunk-N.parquet --select (any number of workers)--> selected/chunk-N.parquet --gather--> pairs, held_out

What was sampled and scored, which costs most, lies in chunks, so that a round that was killed goes on behind the last whole one.
Whatever is not used lies as Reject, one JSON object a line, in a file of the same name with the ending .jsonl, and at last in
rejects.jsonl. round.json is written last: with it the round is whole.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from tower_rl.data.preference.selection import Selection, select
from tower_rl.data.preference.shares import is_held_out, within_quota
from tower_rl.data.preference.statistics import Statistics, statistics
from tower_rl.data.preference.table import read_candidates, read_pairs, write_candidates, write_pairs
from tower_rl.data.preference.types import Candidates, Pair
from tower_rl.data.rows import Reject
from tower_rl.files import replace_text

Summary = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class RoundFiles:
    """The paths of a round."""

    folder: Path
    number: int

    def candidates(self, chunk: int) -> Path:
        """Scored answers to some of the prompts."""
        return self.folder / "candidates" / f"chunk-{chunk:05d}.parquet"

    @property
    def pairs(self) -> Path:
        """Those that are trained on."""
        return self.folder / "pairs.parquet"

    @property
    def held_out(self) -> Path:
        """Those for validation."""
        return self.folder / "held_out.parquet"

    @property
    def rejects(self) -> Path:
        """What was not used, and why."""
        return self.folder / "rejects.jsonl"

    @property
    def summary(self) -> Path:
        """Says that the round is whole, and what it is like."""
        return self.folder / "round.json"


def keep(path: Path, candidates: Sequence[Candidates], rejects: Iterable[Reject]) -> None:
    """Write a chunk: the file of answers last, since it says that the chunk is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write_rejects(path.with_suffix(".jsonl"), rejects)
    write_candidates(path, candidates)


def choose(selection: Selection, round_: int, chunk: str) -> Summary:
    """Pairs and rejects of a chunk, into files in `selected` beside its folder; answers the pairs' ids and language pairs.

    Raises DataError for a file that cannot be read.
    """
    source = Path(chunk)
    target = source.parent.parent / "selected" / source.name
    pairs, rejects = [], list(_read_rejects(source.with_suffix(".jsonl")))
    for candidates in read_candidates(source):
        pair, unused = select(candidates, selection)
        rejects += unused
        if pair is not None:
            pairs.append(pair)
    write_pairs(target, pairs, round_)
    _write_rejects(target.with_suffix(".jsonl"), rejects)
    return {"selected": str(target), "pairs": [[pair.prompt.id, pair.prompt.language_pair] for pair in pairs]}


def gather(
    files: RoundFiles, summaries: Iterable[Summary], *, held_out: float, per_language_pair: int | None, seed: int
) -> tuple[Statistics, int]:
    """Write pairs.parquet, held_out.parquet and rejects.jsonl.

    Args:
        files: of the round.
        summaries: what `choose` answered, in any order.
        held_out: share of the prompts, by their ids, whose pairs are kept for validation.
        per_language_pair: most pairs of a language pair to train on.
        seed: decides which these are.

    Returns:
        statistics of the pairs to train on and of all that was dropped, and the number of those for validation.
    """
    ordered = sorted(summaries, key=lambda summary: str(summary["selected"]))
    chunks = [Path(summary["selected"]) for summary in ordered]
    ids = [(name, language) for summary in ordered for name, language in summary["pairs"]]
    training = [(name, language) for name, language in ids if not is_held_out(name, held_out)]
    kept = frozenset(name for name, _ in training)
    if per_language_pair is not None:
        kept = within_quota(training, per_language_pair, seed)
    validation = frozenset(name for name, _ in ids if is_held_out(name, held_out))
    write_pairs(files.pairs, _of(chunks, kept), files.number)
    write_pairs(files.held_out, _of(chunks, validation), files.number)
    surplus = [Reject(pair.prompt.source, pair.prompt.id, "pair: above the quota", f"of {pair.prompt.language_pair}")
               for pair in _but(chunks, kept | validation)]  # fmt: skip
    rejects = [reject for chunk in chunks for reject in _read_rejects(chunk.with_suffix(".jsonl"))] + surplus
    _write_rejects(files.rejects, rejects)
    return statistics(read_pairs(files.pairs), rejects), len(validation)


def _of(chunks: Iterable[Path], ids: frozenset[str]) -> Iterator[Pair]:
    return (pair for chunk in chunks for pair in read_pairs(chunk) if pair.prompt.id in ids)


def _but(chunks: Iterable[Path], ids: frozenset[str]) -> Iterator[Pair]:
    return (pair for chunk in chunks for pair in read_pairs(chunk) if pair.prompt.id not in ids)


def _write_rejects(path: Path, rejects: Iterable[Reject]) -> None:
    replace_text(path, "".join(json.dumps(asdict(reject), ensure_ascii=False) + "\n" for reject in rejects))


def _read_rejects(path: Path) -> Iterator[Reject]:
    with path.open(encoding="utf-8") as file:
        yield from (Reject(**json.loads(line)) for line in file)
