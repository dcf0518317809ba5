"""The files of a round against a plain loop over its prompts: nothing is lost, and neither order nor chunks matter."""

import json
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from random import Random

import pyarrow.parquet as pq
import pytest
from preference_rows import candidate, candidates

from tower_rl.data.preference.rounds import RoundFiles, choose, gather, keep
from tower_rl.data.preference.selection import Selection, select
from tower_rl.data.preference.shares import is_held_out
from tower_rl.data.preference.table import read_pairs
from tower_rl.data.rows import DataError, Reject
from tower_rl.types import StopReason

SELECTION = Selection("best_worst", 30, seed=0, margin=0.3, similarity=0.9)
LANGUAGES = ("en-de", "en-fr", None)
ODD = "a\u2028b\x85c\rd"  # characters that end lines for some readers, not for JSON
GIVEN = [Reject("s", f"s/{n}", "answer: joined to the prompt", f"machine: {ODD}\ud800") for n in (3, 40)]
SHARE = 0.2


def prompts(count=60):
    """Prompts with answers of all kinds: fit ones, equal ones, cut ones, too long ones, and none at all."""
    random = Random(0)
    made = []
    for n in range(count):
        answers = [
            candidate(f"answer {n} {k} {random.random()}", random.choice([0.0, 0.2, 0.5, 1.0]), random.randint(1, 32))
            for k in range(random.randint(0, 4))
        ]
        answers += [candidate(f"never ends {n}", 1.0, stop_reason=StopReason.LENGTH)] * (n % 5 == 0)
        answers += [candidate(ODD, score) for score in (0.0, 0.9)] * (n % 7 == 0)
        made.append(candidates(*answers, name=f"s/{n}", language_pair=LANGUAGES[n % 3], cursor=n))
    return made


def build(folder, made, size=20, shuffle=0, **rest):
    """A round in chunks of so many prompts, whose summaries come in any order."""
    files = RoundFiles(folder, 2)
    summaries = []
    for number, begin in enumerate(range(0, len(made), size)):
        chunk = made[begin : begin + size]
        ids = {each.prompt.id for each in chunk}
        keep(files.candidates(number), chunk, [reject for reject in GIVEN if reject.place in ids])
        summaries.append(choose(SELECTION, 2, str(files.candidates(number))))
    summaries = json.loads(json.dumps(summaries))  # they come from other processes
    Random(shuffle).shuffle(summaries)
    return files, *gather(files, summaries, **{"held_out": SHARE, "per_language_pair": None, "seed": 0} | rest)


def rejects_of(files):
    with files.rejects.open(encoding="utf-8") as lines:
        return [Reject(**json.loads(line)) for line in lines]


def storable(rejects):
    return Counter(json.dumps(asdict(reject)).replace("\\ud800", "?") for reject in rejects)


def by_hand(made):
    """Pairs in the order of the prompts, and all rejects."""
    pairs, rejects = [], list(GIVEN)
    for each in made:
        pair, unused = select(each, SELECTION)
        pairs += [pair] if pair else []
        rejects += unused
    return pairs, rejects


def test_a_round_against_a_plain_loop(tmp_path: Path) -> None:
    made = prompts()
    files, statistics, held_out = build(tmp_path, made)
    pairs, rejects = by_hand(made)
    training = [pair for pair in pairs if not is_held_out(pair.prompt.id, SHARE)]
    validation = [pair for pair in pairs if is_held_out(pair.prompt.id, SHARE)]
    assert len(training) > 10 and len(validation) == held_out > 2
    assert list(read_pairs(files.pairs)) == training and list(read_pairs(files.held_out)) == validation
    assert set(pq.read_table(files.pairs)["round"].to_pylist()) == {2}
    assert storable(rejects_of(files)) == storable(rejects)
    reasons = Counter(reject.reason for reject in rejects)
    assert set(reasons) >= {"answer: joined to the prompt", "answer: cut", "answer: over-length", "pair: equal answers"}
    report = statistics.report()
    assert report["dropped"] == reasons and report["pairs"] == len(training)
    longer = sum(len(pair.chosen.token_ids) > len(pair.rejected.token_ids) for pair in training)
    gaps = [len(pair.chosen.token_ids) - len(pair.rejected.token_ids) for pair in training]
    assert report["chosen_longer"] == longer / len(training)
    assert report["length_gap"] == pytest.approx(sum(gaps) / len(gaps))
    languages = Counter(pair.prompt.language_pair or "" for pair in training)
    assert {name: figures["pairs"] for name, figures in report["languages"].items()} == languages


def test_every_prompt_has_a_pair_or_a_reason(tmp_path: Path) -> None:
    made = prompts()
    files, _, _ = build(tmp_path, made, per_language_pair=4)
    paired = [pair.prompt.id for path in (files.pairs, files.held_out) for pair in read_pairs(path)]
    without = [reject.place for reject in rejects_of(files) if reject.reason.startswith("pair: ")]
    assert sorted([*paired, *without]) == sorted(each.prompt.id for each in made)


def test_a_quota_of_each_language_pair(tmp_path: Path) -> None:
    made = prompts()
    free, _, validation = build(tmp_path / "free", made)
    files, statistics, held_out = build(tmp_path / "quota", made, per_language_pair=4)
    there = Counter(pair.prompt.language_pair for pair in read_pairs(free.pairs))
    kept = Counter(pair.prompt.language_pair for pair in read_pairs(files.pairs))
    assert there["en-de"] > 4 < there["en-fr"]
    assert kept == {"en-de": 4, "en-fr": 4, None: there[None]}
    assert held_out == validation and files.held_out.read_bytes() == free.held_out.read_bytes()
    surplus = [reject for reject in rejects_of(files) if reject.reason == "pair: above the quota"]
    assert len(surplus) == there["en-de"] + there["en-fr"] - 8 == statistics.report()["dropped"]["pair: above the quota"]
    assert Counter(reject.detail for reject in surplus) == {f"of {name}": there[name] - 4 for name in ("en-de", "en-fr")}
    other, _, _ = build(tmp_path / "other", made, per_language_pair=4, seed=1)
    assert other.pairs.read_bytes() != files.pairs.read_bytes()


def test_neither_chunks_nor_their_order_matter(tmp_path: Path) -> None:
    made = prompts()
    rest = {"per_language_pair": 4}
    one, whole, _ = build(tmp_path / "one", made, size=len(made), **rest)
    files, statistics, _ = build(tmp_path / "files", made, size=7, shuffle=1, **rest)
    again, same, _ = build(tmp_path / "again", made, size=7, shuffle=2, **rest)
    assert [path.read_bytes() for path in (files.pairs, files.held_out, files.rejects)] == [
        path.read_bytes() for path in (again.pairs, again.held_out, again.rejects)
    ]
    assert list(read_pairs(files.pairs)) == list(read_pairs(one.pairs))
    assert list(read_pairs(files.held_out)) == list(read_pairs(one.held_out))
    assert Counter(rejects_of(files)) == Counter(rejects_of(one))
    assert statistics.report() == same.report() == whole.report()


def test_all_or_nothing_is_held_out(tmp_path: Path) -> None:
    made = prompts(20)
    files, statistics, held_out = build(tmp_path / "all", made, held_out=1.0)
    assert held_out > 0 and list(read_pairs(files.pairs)) == [] and statistics.report()["pairs"] == 0
    files, statistics, held_out = build(tmp_path / "none", made, held_out=0.0)
    assert held_out == 0 and list(read_pairs(files.held_out)) == [] and statistics.report()["pairs"] > 0


def test_a_chunk_that_breaks_off_is_not_there(tmp_path: Path) -> None:
    files = RoundFiles(tmp_path, 0)

    class Broken(list):
        def __iter__(self):
            yield from prompts(3)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        keep(files.candidates(0), Broken(), GIVEN)
    assert not files.candidates(0).exists()
    keep(files.candidates(0), prompts(3), [])
    assert choose(SELECTION, 0, str(files.candidates(0)))["pairs"] == [["s/0", "en-de"]]
    assert files.candidates(0).with_suffix(".jsonl").read_text() == ""


def test_a_chunk_that_cannot_be_read(tmp_path: Path) -> None:
    files = RoundFiles(tmp_path, 0)
    keep(files.candidates(0), prompts(3), [])
    files.candidates(0).write_bytes(b"PAR1")
    with pytest.raises(DataError, match=r"chunk-00000\.parquet holds no answers that can be read"):
        choose(SELECTION, 0, str(files.candidates(0)))
