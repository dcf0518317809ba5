"""Translation memories."""

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tower_rl.data.corpus.readers import dispatch
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.rows import DataError

Rows = Callable[..., list[dict[str, Any]]]
Parts = Callable[..., list[Part]]

HEADER = '<header creationtool="t" segtype="sentence" o-tmf="x" adminlang="en" srclang="{}" datatype="plaintext"/>'


def tmx(*units: str, srclang: str = "en-US") -> str:
    body = "\n".join(units)
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<!DOCTYPE tmx SYSTEM "tmx14.dtd">\n'
        f'<tmx version="1.4">{HEADER.format(srclang)}<body>\n{body}\n</body></tmx>\n'
    )


def unit(attributes: str = "", **segments: str) -> str:
    variants = "".join(f'<tuv xml:lang="{tag.replace("_", "-")}"><seg>{text}</seg></tuv>' for tag, text in segments.items())
    return f"<tu{attributes}>{variants}</tu>"


def pairs(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(row["language"], row["original"], row["translation"]) for row in found if not row["dropped"]]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "memory.tmx"


def test_the_source_with_each_other_language(path: Path, rows: Rows) -> None:
    path.write_text(
        tmx(
            unit(de="Hallo", en_GB="Hello", pt_BR="Olá"),
            unit(' tuid="t7" srclang="de"', de="Welt", en="World"),
        )
    )
    found = rows(kind="tmx", path=str(path))
    assert pairs(found) == [("en-de", "Hello", "Hallo"), ("en-pt_BR", "Hello", "Olá"), ("de-en", "Welt", "World")]
    assert [row["id"] for row in found] == [
        "c/memory.tmx:1/en-de",
        "c/memory.tmx:1/en-pt_BR",
        "c/memory.tmx:2/de-en#t7",
    ]
    assert [(row["kind"], row["document"], row["position"]) for row in found] == [("pair", "", n) for n in (1, 1, 2)]


def test_configured_pairs(path: Path, rows: Rows, parts: Parts) -> None:
    path.write_text(tmx(unit(en="Hello", de="Hallo", fr="Salut"), unit(en="World", fr="Monde")))
    found = rows(kind="tmx", path=str(path), pairs=["de-en", "fr-de"])
    assert pairs(found) == [("de-en", "Hallo", "Hello"), ("fr-de", "Salut", "Hallo")]
    assert [(row["dropped"], row["detail"]) for row in found[2:]] == [("unused: no such pair", "the unit has segments in en, fr")]
    with pytest.raises(DataError, match="corpus 'c': 'en' is no pair of languages"):
        parts(kind="tmx", path=str(path), pairs=["en"])
    with pytest.raises(DataError, match="corpus 'c': 'German' is no language tag"):
        parts(kind="tmx", path=str(path), pairs=["en-German"])


def test_any_language_may_be_the_source(path: Path, rows: Rows) -> None:
    path.write_text(tmx(unit(fr="Salut", de="Hallo", en="Hello"), srclang="*all*"))
    assert pairs(rows(kind="tmx", path=str(path))) == [("fr-de", "Salut", "Hallo"), ("fr-en", "Salut", "Hello")]
    assert pairs(rows(kind="tmx", path=str(path), pairs=["en-de"])) == [("en-de", "Hello", "Hallo")]


def test_codes_go_and_text_stays(path: Path, rows: Rows) -> None:
    source = (
        'A <bpt i="1">&lt;b x="<sub>title</sub>"></bpt>bold <hi type="x">high <ph>%s</ph>light</hi><ept i="1">&lt;/b></ept>'
        '<!-- note --><it pos="begin">x</it> &amp; &#x20AC;<ut>u</ut>.'
    )
    path.write_text(tmx(unit(en=source, de="<hi>Fett</hi>")))
    assert pairs(rows(kind="tmx", path=str(path))) == [("en-de", "A bold high light & €.", "Fett")]


def test_bad_and_unused_segments_have_their_lines(path: Path, rows: Rows) -> None:
    path.write_text(
        tmx(
            unit(en="Hello", de=""),
            "<tu><tuv><seg>Hello</seg></tuv></tu>",
            '<tu><tuv xml:lang="en"></tuv></tu>',
            unit(xklingon="a", en="b", de="c"),
            '<tu><tuv lang="en"><seg>old</seg></tuv><tuv lang="de"><seg>alt</seg></tuv></tu>',
            unit(en_US="color", en_GB="colour", de="Farbe"),
        )
    )
    found = rows(kind="tmx", path=str(path))
    assert pairs(found) == [("en-de", "b", "c"), ("en-de", "old", "alt"), ("en-de", "color", "Farbe")]
    assert [(row["dropped"], row["id"].rpartition(":")[2], row["detail"]) for row in found if row["dropped"]] == [
        ("unused: empty", "4", "the segment of de is empty"),
        ("unused: no such pair", "4", "the unit has segments in en"),
        ("read: missing field", "5", "the tuv names no language (xml:lang)"),
        ("unused: no such pair", "5", "the unit has segments in no language"),
        ("read: missing field", "6", "the tuv of en has no seg"),
        ("unused: no such pair", "6", "the unit has segments in no language"),
        ("read: unknown language", "7", "'xklingon' is no language tag; en, pt-BR or zh_Hant are"),
        ("unused: second variant", "9", "the unit has another segment in en"),
    ]


def test_entities_are_not_resolved(path: Path, rows: Rows, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    text = tmx(unit(en="A &inner;", de="B"), unit(en="A &outer;", de="B"), unit(en="A", de="B"))
    entities = f'[<!ENTITY inner "x"><!ENTITY outer SYSTEM "file://{tmp_path}/secret">]'
    path.write_text(text.replace('SYSTEM "tmx14.dtd"', entities))
    found = rows(kind="tmx", path=str(path))
    assert pairs(found) == [("en-de", "A", "B")]
    assert [row["detail"] for row in found if row["dropped"].startswith("read")] == [
        "the entity &inner; is not resolved",
        "the entity &outer; is not resolved",
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "iso-8859-1"])
def test_encodings_and_gzip(tmp_path: Path, rows: Rows, encoding: str) -> None:
    text = tmx(unit(en="Hello", pt="Olá")).replace("UTF-8", encoding)
    (tmp_path / "memory.tmx.gz").write_bytes(gzip.compress(text.encode(encoding)))
    assert pairs(rows(kind="tmx", path=f"{tmp_path}/*.tmx.gz")) == [("en-pt", "Hello", "Olá")]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (tmx(unit(en="a", de="b"), "<tu><tuv></tu>"), r"memory\.tmx:5:15 is broken XML: Opening and ending tag mismatch"),
        (tmx(unit(en="a", de="b"))[:-20], r"memory\.tmx:4:79 is broken XML: Premature end of data in tag tu"),
        ("", r"memory\.tmx:\d:\d is broken XML: "),
        ("plain text", r"memory\.tmx:1:1 is broken XML: Start tag expected"),
    ],
)
def test_broken_xml_says_where(path: Path, parts: Parts, content: str, message: str) -> None:
    path.write_text(content)
    [part] = parts(kind="tmx", path=str(path))
    with pytest.raises(DataError, match=message):
        list(dispatch.read(part))


def test_what_stands_before_a_break_is_read(path: Path, parts: Parts) -> None:
    path.write_bytes(tmx(unit(en="a", de="b"), unit(en="a", de="@")).encode().replace(b"@", b"\xff"))
    [part] = parts(kind="tmx", path=str(path))
    read = dispatch.read(part)
    assert next(read).translation == "b"
    with pytest.raises(DataError, match=r"memory\.tmx:5:\d+ is broken XML: Invalid bytes in character encoding"):
        next(read)


def test_lines_of_large_files_and_memory(path: Path, parts: Parts) -> None:
    one, units = unit(en="word " * 10, de="Wort " * 10), 70_000

    def resident() -> int:  # libxml2 allocates what tracemalloc does not see
        return int(Path("/proc/self/statm").read_text().split()[1]) * 4096

    with path.open("w") as file:
        file.write(tmx(*[one] * 2).removesuffix("</body></tmx>\n"))
        for _ in range(units):
            file.write(one + "\n")
        file.write(unit(en="last") + "\n</body></tmx>")
    assert path.stat().st_size > 10_000_000
    [part] = parts(kind="tmx", path=str(path))
    before, peak, last = resident(), 0, ""
    for table in dispatch.tables(part, rows=1000):
        peak, last = max(peak, resident()), table["id"][-1].as_py()
    assert last == f"{path}:{units + 6}"
    assert peak - before < 20_000_000
