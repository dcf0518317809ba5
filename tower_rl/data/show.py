"""Shows what is trained: `python -m tower_rl.data.show CONFIG [key.path=value ...] [--rows N] [--corpus NAME]`.

Rows of each corpus and each source of prompts, as the model gets them. Learned tokens are green and their context is dim, control
tokens are magenta; without colours (NO_COLOR, a pipe) learned spans stand between ⟦ and ⟧. Control characters, which a terminal
would obey, are shown as pictures.

Rows of corpora are read, cleaned, made instructions and tokenized here one by one. What needs a corpus as a whole is left to the
preparation of a stage: duplicates, evaluation texts and judges drop no row here, and no pairs are pivoted, joined or given terms.

Exit codes: 0 done; 2 the configuration, the data or the model cannot be used.
"""

import argparse
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from rich.console import Console
from rich.text import Text

from tower_rl.config.load import ConfigError, load
from verifiers.pipes import quiet_pipes

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

    from tower_rl.config.schema import Config
    from tower_rl.config.stages import CptStage, SftStage
    from tower_rl.types import Prompt

ROWS = 3
_AT_ONCE = 50
OPEN, CLOSE = "⟦", "⟧"

PICTURES: dict[int, int] = {
    **{code: 0x2400 + code for code in range(0x20) if chr(code) not in "\n\t"},
    0x7F: 0x2421,
    **dict.fromkeys(range(0x80, 0xA0), 0xFFFD),
}
"""For str.translate: control characters, but for line ends and tabs, as something that a terminal does not obey."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One corpus, or one source of prompts, in one stage."""

    stage: str
    name: str
    tables: Iterable[pa.Table]
    """In the TOKENS schema; read only until enough rows are shown."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Neighbouring tokens of one sort, as text."""

    text: str
    trained: bool
    control: bool


@quiet_pipes()
def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, check the configuration, show its data; answers the exit code."""
    options = _parser().parse_intermixed_args(arguments)
    try:
        config = load(options.config, options.overrides)
    except (ConfigError, ImportError) as error:  # the second: a plug-in whose name clashes or that cannot be read
        return _refuse(error)
    from tower_rl.data.rows import DataError
    from tower_rl.models.errors import ModelError
    from tower_rl.models.load import SUPERVISED_FAMILIES, load_tokenizer, local_folder

    console = Console(highlight=False)
    try:
        names = _names(config, options.corpus)
        tokenizer = load_tokenizer(local_folder(config.model, SUPERVISED_FAMILIES))
        for sample in samples(config, tokenizer, names):
            show(tokenizer, sample, options.rows, console)
    except (DataError, ModelError) as error:
        return _refuse(error)
    return 0


def samples(config: "Config", tokenizer: "PreTrainedTokenizerBase", names: frozenset[str]) -> Iterator[Sample]:
    """What the stages are fed with, by the functions that training uses.

    Raises DataError, here or while the tables are read.
    """
    from tower_rl.config.stages import PreferenceStage, RlvrStage

    for stage in config.stages:
        if isinstance(stage, RlvrStage | PreferenceStage):
            for name in filter(names.__contains__, config.data.sources):
                yield Sample(stage.name, name, _prompts(config, name, tokenizer))
        else:
            for name in filter(names.__contains__, config.data.corpora):
                yield Sample(stage.name, name, _rows(config, stage, name))


def show(tokenizer: "PreTrainedTokenizerBase", sample: Sample, rows: int, console: Console) -> None:
    """Prints the first `rows` rows in use, and what was dropped before them, by reason."""
    console.print(Text(f"{sample.stage} / {sample.name}", "bold"), soft_wrap=True)
    shown, dropped = 0, Counter[str]()
    for row in (row for table in sample.tables for row in table.to_pylist()):
        if row["dropped"]:
            dropped[row["dropped"]] += 1
            continue
        parts = segments(tokenizer, row["token_ids"], row["trained"])
        console.print(_heading(row), _coloured(parts, console), "", sep="\n", soft_wrap=True)
        shown += 1
        if shown == rows:
            break
    lost = ", ".join(f"{count} {reason}" for reason, count in dropped.most_common())
    lost = f"; dropped before the last of them: {lost}" if lost else ""
    console.print(Text(f"{shown} rows shown{lost}\n"), soft_wrap=True)


def segments(tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int], trained: Sequence[bool]) -> list[Segment]:
    """The text of the tokens, parted where they begin or cease to be learned or control tokens.

    A character whose bytes are parted stands in the later segment.
    """
    from tower_rl.data.chat import ControlTokens

    control = ControlTokens(tokenizer).ids
    if not token_ids:
        return []
    sorts = [(learned, id_ in control) for id_, learned in zip(token_ids, trained, strict=True)]
    runs = [(sort, len(list(run))) for sort, run in groupby(sorts)]
    whole = _decode(tokenizer, token_ids)
    # Some decoders treat the beginning of a text in a way of their own, so that a run is never decoded alone.
    stops = accumulate(length for _, length in runs[:-1])
    ends = [_reach(whole, _decode(tokenizer, token_ids[:stop])) for stop in stops]
    return [Segment(whole[begin:end], *sort) for (sort, _), begin, end in zip(runs, [0, *ends], [*ends, len(whole)], strict=True)]


def _reach(whole: str, beginning: str) -> int:
    """How many of the whole text's characters the text of its first tokens has in full."""
    return len(beginning if whole.startswith(beginning) else beginning.rstrip("\ufffd"))


def _decode(tokenizer: "PreTrainedTokenizerBase", token_ids: Sequence[int]) -> str:
    return str(tokenizer.decode(list(token_ids), clean_up_tokenization_spaces=False))


def marked(parts: Iterable[Segment]) -> str:
    """The text with learned spans between OPEN and CLOSE."""
    spans = groupby(parts, key=lambda part: part.trained)
    texts = ((trained, "".join(part.text for part in span)) for trained, span in spans)
    return "".join(f"{OPEN}{text}{CLOSE}" if trained else text for trained, text in texts).translate(PICTURES)


def _coloured(parts: list[Segment], console: Console) -> Text:
    if console.no_color or console.color_system is None:
        return Text(marked(parts))
    text = Text()
    for part in parts:
        style = ("bold " if part.trained else "dim ") + ("magenta" if part.control else "green" if part.trained else "")
        text.append(part.text.translate(PICTURES), style.strip())
    return text


def _heading(row: dict[str, Any]) -> Text:
    count, trained = len(row["token_ids"]), sum(row["trained"])
    share = f"{count} tokens, {trained} learned ({trained / count:.0%})"
    facts = [row["id"], row["language"], share, "held out" if row["held_out"] else ""]
    return Text("  ".join(filter(None, facts)).translate(PICTURES), "cyan")


def _rows(config: "Config", stage: "CptStage | SftStage", name: str) -> Iterator[pa.Table]:
    """The rows of a corpus in their order, as tokens; no more is read than is asked for."""
    from tower_rl.data.corpus import recipe
    from tower_rl.data.corpus.cleaning.steps import before_duplicates
    from tower_rl.data.corpus.readers import dispatch
    from tower_rl.models.load import local_folder

    tokens = recipe.alone(config.data, stage, config.run.seed, local_folder(config.model))
    for part in dispatch.files(name, config.data.corpora[name]):
        for table in dispatch.tables(part, _AT_ONCE):
            for step in (*before_duplicates(config.data.cleaning), *tokens):
                table = step(table)
            yield table


def _prompts(config: "Config", name: str, tokenizer: "PreTrainedTokenizerBase") -> Iterator[pa.Table]:
    """Each prompt of a source once, in the order of training; all of it is context."""
    from tower_rl.data.stream import PromptStream

    alone = config.data.model_copy(update={"sources": {name: config.data.sources[name]}, "weights": {}})
    with TemporaryDirectory() as folder:
        stream = PromptStream(alone, config.run.seed, tokenizer, rejects=Path(folder) / "rejects.jsonl")
    for _ in range(stream.sizes[name]):
        yield _table(stream.take(1))


def _table(prompts: list["Prompt"]) -> pa.Table:
    from tower_rl.data.corpus.records import TOKENS

    rows = [
        {
            "id": prompt.id,
            "corpus": prompt.source,
            "language": prompt.language_pair or "",
            "held_out": False,
            "token_ids": prompt.token_ids,
            "trained": [False] * len(prompt.token_ids),
            "dropped": "",
            "detail": "",
        }
        for prompt in prompts
    ]
    return pa.Table.from_pylist(rows, schema=TOKENS)


def _names(config: "Config", asked: str | None) -> frozenset[str]:
    """Corpora and sources to show. Raises DataError for a name that there is not."""
    from tower_rl.data.rows import DataError

    names = frozenset(config.data.corpora) | frozenset(config.data.sources)
    if asked is None:
        return names
    if asked not in names:
        raise DataError(f"no corpus or source {asked!r}; the configuration has {', '.join(sorted(names))}")
    return frozenset({asked})


def _refuse(error: Exception) -> int:
    print(error, file=sys.stderr)  # noqa: T201
    return 2


def natural(text: str) -> int:
    """An argument that counts something, from 1."""
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"must be a number from 1 on, not {text!r}")
    return int(text)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tower_rl.data.show", description="Show rows as they are trained on: what is learned, and its context."
    )
    parser.add_argument("config", metavar="CONFIG", help="a YAML file, e.g. configs/demo.yaml")
    parser.add_argument("overrides", metavar="key.path=value", nargs="*", help="values that replace those of the file")
    parser.add_argument("--rows", metavar="N", type=natural, default=ROWS, help=f"rows of each corpus (default: {ROWS})")
    parser.add_argument("--corpus", metavar="NAME", help="only this entry of data.corpora or data.sources")
    return parser


if __name__ == "__main__":
    sys.exit(main())
