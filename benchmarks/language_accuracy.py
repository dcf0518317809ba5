"""How often the verifier `language` is right: `python benchmarks/language_accuracy.py FOLDER [TEXTS]` prints a Markdown table.

FOLDER holds files en-XX.jsonl.gz with a `source` and its human translation `target` in each row, XX being the language's code.
TEXTS of each (default 300) are taken at equal distances.
"""

import gzip
import json
import sys
from collections import Counter
from pathlib import Path

from verifiers.language_id import MOST_WRONG, judge, probabilities
from verifiers.text import letters, visible
from verifiers.translation import languages
from verifiers.translation.language import label
from verifiers.translation.markup import prose

BUCKETS = ((1, 20), (20, 60), (60, 10_000))
"""Letters, from and below."""
NEIGHBOURS = {
    "cs": "sk", "da": "nb", "de": "nl", "es": "pt", "fi": "et", "fr": "it", "hi": "ar", "hu": "fi", "is": "da", "it": "es",
    "ja": "zh", "ko": "ja", "nb": "da", "nl": "de", "pl": "cs", "pt_PT": "pt_BR", "pt_BR": "pt_PT", "ro": "it", "ru": "uk",
    "sv": "nb", "uk": "ru", "zh_Hans": "zh_Hant", "zh_Hant": "zh_Hans",
}  # fmt: skip
"""What each language is most easily taken for."""


def main(folder: str, texts: str = "300") -> None:
    """Print a row for each language."""
    heads = [
        "language",
        "below 20 letters",
        "20 to 59",
        "from 60",
        "label right",
        "English passes",
        "neighbour passes",
        "variant",
    ]
    print(f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|")
    for path in sorted(Path(folder).glob("en-*.jsonl.gz")):
        code = languages.canonical(path.name.removeprefix("en-").removesuffix(".jsonl.gz"))
        code = "pt_PT" if code == "pt" else code  # next to pt_BR
        print(f"| {code} | {' | '.join(columns(path, code, int(texts)))} |", flush=True)


def columns(path: Path, code: str, texts: int) -> list[str]:
    """By bucket: number of texts: shares passed, unknown and failed; how often the likeliest label is right, for enough letters;
    what should not pass, and does; share of the texts with evidence for a variant: how often it is for the right one."""
    rows = sample(path, texts)
    own = [(visible(prose(row["target"])), visible(prose(row["source"]))) for row in rows if row["target"] != row["source"]]
    cells = []
    for low, high in BUCKETS:
        verdicts = Counter(verdict(target, code) for target, _ in own if low <= letters(target) < high)
        shares = " / ".join(f"{verdicts[each] / max(verdicts.total(), 1):.0%}" for each in ("passed", "unknown", "failed"))
        cells.append(f"{verdicts.total()}: {shares}")
    guesses = [(max(chances, key=chances.__getitem__), text) for text, _ in own if (chances := probabilities(text))]
    cells.append(share([guess == label(code) for guess, _ in guesses]))
    cells.append(share([verdict(source, code) == "passed" for _, source in own if letters(source)]))
    neighbour = NEIGHBOURS[code]
    cells.append(f"{neighbour} {share([verdict(target, neighbour) == 'passed' for target, _ in own if letters(target)])}")
    found = [part for target, _ in own if (part := judge(target, code).parts.get("variant")) is not None]
    cells.append(f"{len(found) / len(own):.0%}: {share([part >= 1 - MOST_WRONG for part in found])}" if found else "")
    return cells


def verdict(text: str, code: str) -> str:
    """`passed`, `unknown` or `failed`."""
    found = judge(text, code)
    return "passed" if found.passed else "unknown" if "unknown_language" in found.flags else "failed"


def share(hits: list[bool]) -> str:
    """In percent."""
    return f"{sum(hits) / max(len(hits), 1):.1%}"


def sample(path: Path, texts: int) -> list[dict[str, str]]:
    """Rows at equal distances."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines]
    return rows[:: max(len(rows) // texts, 1)][:texts]


if __name__ == "__main__":
    main(*sys.argv[1:])
