"""Shows pairs: `python -m tower_rl.data.preference.show FILE [--rows N]`, FILE being a parquet file of pairs.

The first pairs in full, with who made each answer and how it scored, and then what all of the file are like. Control characters,
which a terminal would obey, are shown as pictures.

Exit codes: 0 done; 2 the file cannot be read.
"""

import argparse
import sys
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path

from rich.console import Console
from rich.text import Text

from tower_rl.data.preference.statistics import Statistics, statistics
from tower_rl.data.preference.table import read_pairs
from tower_rl.data.preference.types import Candidate, Pair
from tower_rl.data.rows import DataError
from tower_rl.data.show import PICTURES, natural
from verifiers.pipes import quiet_pipes

ROWS = 3


@quiet_pipes()
def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line and show the file; answers the exit code."""
    options = _parser().parse_args(arguments)
    console = Console(highlight=False)
    try:
        pairs = read_pairs(options.file)
        first = list(islice(pairs, options.rows))
        for text in chain.from_iterable(map(_pair, first)):
            console.print(text, soft_wrap=True)
        for text in _summary(statistics(chain(first, pairs))):
            console.print(text, soft_wrap=True)
    except DataError as error:
        print(error, file=sys.stderr)  # noqa: T201
        return 2
    return 0


def _pair(pair: Pair) -> Iterator[Text]:
    facts = [pair.prompt.id, pair.prompt.language_pair or "", f"{pair.length_gap:+} tokens"]
    if pair.score_gap is not None:
        facts.append(f"score {pair.score_gap:+g}")
    yield _text("  ".join(filter(None, facts)), "bold")
    for message in pair.prompt.messages:
        yield _text(f"{message['role']}: {message['content']}", "dim")
    yield from _answer("chosen", pair.chosen, "green")
    yield from _answer("rejected", pair.rejected, "red")
    yield Text()


def _answer(side: str, answer: Candidate, style: str) -> Iterator[Text]:
    scores = ", ".join(f"{name} {value:g}" for name, value in answer.scores.items())
    facts = [f"{side} by {answer.origin}", f"{len(answer.token_ids)} tokens", scores, answer.reason]
    yield _text("; ".join(filter(None, facts)), f"bold {style}")
    yield _text(answer.text, style)


def _summary(all_pairs: Statistics) -> Iterator[Text]:
    report = all_pairs.report()
    for name, figure in report.items():
        if isinstance(figure, int | float):
            yield _text(f"{name}: {figure:g}", "")
    for side in ("chosen_origins", "rejected_origins"):
        yield _text(f"{side}: " + ", ".join(f"{count} {origin}" for origin, count in report[side].items()), "")


def _text(text: str, style: str) -> Text:
    return Text(text.translate(PICTURES), style)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tower_rl.data.preference.show", description="Show pairs of answers.")
    parser.add_argument("file", metavar="FILE", type=Path, help="a parquet file of pairs")
    parser.add_argument("--rows", metavar="N", type=natural, default=ROWS, help=f"pairs in full (default: {ROWS})")
    return parser


if __name__ == "__main__":
    sys.exit(main())
