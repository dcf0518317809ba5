"""Two files whose lines are translations of each other, as of Moses and WMT; a third one may name the lines' documents."""

from collections.abc import Iterator
from itertools import zip_longest

from tower_rl.config.corpora import AlignedCorpus
from tower_rl.data.corpus.readers import lines, places
from tower_rl.data.corpus.readers.part import BadRow, Part, Record, filled
from tower_rl.data.corpus.readers.tags import configured
from tower_rl.data.rows import DataError, Reject


def files(name: str, corpus: AlignedCorpus) -> list[Part[AlignedCorpus]]:
    """One part per PART_LINES lines of local files; one part if a file is packed or remote.

    Raises DataError, also when the numbers of lines of local plain files differ: then nobody knows from where on the lines are
    no translations of each other.
    """
    _pair(name, corpus)
    owner = f"corpus {name!r}"
    given = [corpus.path, corpus.target_path, *([corpus.documents] if corpus.documents else [])]
    found = [_only(owner, path) for path in given]
    paths, label = tuple(path for path, _ in found), found[0][1]
    if not all(lines.can_be_cut(path) for path in paths):
        return [Part(name, corpus, paths, label, (0,) * len(paths))]
    starts, counts = zip(*(lines.cuts(path, lines.PART_LINES) for path in paths), strict=True)
    if len(set(counts)) > 1:
        raise DataError(f"{owner}: {_unequal(paths, counts)}")
    return [
        Part(name, corpus, paths, label, bytes_, 1 + lines.PART_LINES * place, lines.PART_LINES)
        for place, bytes_ in enumerate(zip(*starts, strict=True))
    ]


def read(part: Part[AlignedCorpus]) -> Iterator[Record | Reject]:
    """Pairs in the order of the lines; lines that are empty in both languages are passed over.

    Packed or remote files whose numbers of lines differ end in a bad row that tells them. Raises DataError when a file cannot be
    read to its end.
    """
    language = _pair(part.name, part.corpus)
    files_ = zip(part.paths, part.starts, strict=True)
    columns = [_texts(lines.read(path, start, part.first, part.count)) for path, start in files_]
    for number, row in enumerate(zip_longest(*columns), start=part.first):
        if None in row:
            yield _rest(part, number, row, columns)
            return
        if not (isinstance(row[0], str) and isinstance(row[1], str)) or (row[0] + row[1]).strip():
            yield _record(part, number, row, language)


def _record(part: Part[AlignedCorpus], number: int, row: tuple[str | BadRow, ...], language: str) -> Record | Reject:
    document = row[2] if len(row) > 2 else ""
    try:
        original, translation = (filled(_good(text, path), path) for text, path in zip(row[:2], part.paths[:2], strict=True))
        document = _good(document, part.paths[-1]).strip()
    except BadRow as error:
        return part.reject(number, error)
    return Record(
        part.row_id(number),
        "pair",
        language,
        original=original,
        translation=translation,
        document=f"{part.name}/{document}" if document else "",
        position=number,
    )


def _rest(
    part: Part[AlignedCorpus], number: int, row: tuple[str | BadRow | None, ...], columns: list[Iterator[str | BadRow]]
) -> Reject:
    counts = [number - 1 + (text is not None) + sum(1 for _ in column) for text, column in zip(row, columns, strict=True)]
    return part.reject(number, BadRow("read: unequal line counts", _unequal(part.paths, tuple(counts))))


def _texts(numbered: Iterator[tuple[int, str | BadRow]]) -> Iterator[str | BadRow]:
    return (line for _, line in numbered)


def _good(text: str | BadRow, path: str) -> str:
    if isinstance(text, BadRow):
        raise BadRow(text.reason, f"{path}: {text.detail}")
    return text


def _only(owner: str, path: str) -> tuple[str, str]:
    found = places.find(owner, path)
    if len(found) > 1:
        raise DataError(f"{owner}: {path} means {len(found)} files; an aligned corpus has one for each language")
    return next(iter(found.items()))


def _pair(name: str, corpus: AlignedCorpus) -> str:
    return "-".join(configured(name, language) for language in corpus.languages)


def _unequal(paths: tuple[str, ...], counts: tuple[int, ...]) -> str:
    said = ", ".join(f"{path} has {count:,}" for path, count in zip(paths, counts, strict=True))
    return f"the files do not have the same number of lines: {said}"
