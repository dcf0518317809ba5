"""XLIFF 1.2 and 2.0."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tower_rl.data.corpus.readers import dispatch
from tower_rl.data.corpus.readers.part import Part
from tower_rl.data.rows import DataError

Rows = Callable[..., list[dict[str, Any]]]
Parts = Callable[..., list[Part]]

OLD = """<?xml version="1.0"?>
<!-- exported -->
<xliff version="1.2" xmlns="urn:oasis:names:tc:xliff:document:1.2">
<file original="app.html" source-language="en-US" target-language="pt-BR" datatype="html">
<header><note>x</note></header><body>
<trans-unit id="u1"><source>Save</source><target>Salvar</target></trans-unit>
<group id="g">
<trans-unit id="u2" approved="yes"><source>Open <g id="1">the <x id="2"/>file</g></source><seg-source>no</seg-source>
<target state="final">Abrir <g id="1">o <bpt id="3">&lt;b></bpt>arq<mrk mtype="x">uivo</mrk></g></target>
<alt-trans><source>other</source><target>outro</target></alt-trans></trans-unit>
</group>
<trans-unit id="u3"><source>New</source><target state="new">Novo</target></trans-unit>
<trans-unit id="u4"><source>Todo</source><target state="needs-translation">Todo</target></trans-unit>
<trans-unit id="u5" approved="no"><source>No</source><target>Nao</target></trans-unit>
<trans-unit id="u6" approved="no"><source>Yes</source><target state="translated">Sim</target></trans-unit>
<trans-unit id="u7"><source>None</source></trans-unit>
<trans-unit id="u8"><source>Empty</source><target/></trans-unit>
<trans-unit id="u9" translate="no"><source>Tower</source><target>Tower</target></trans-unit>
<trans-unit id="u10"><target>Sem fonte</target></trans-unit>
<trans-unit id="u11"><source> </source><target>Sem fonte</target></trans-unit>
</body></file>
<file original="b.html" source-language="en"><body>
<trans-unit id="v1"><source>Save</source><target>Salvar</target></trans-unit>
</body></file>
</xliff>
"""

NEW = """<xliff xmlns="urn:oasis:names:tc:xliff:document:2.0" version="2.0" srcLang="en" trgLang="de">
<file id="f1" original="page.md"><skeleton>xyz</skeleton><notes><note>n</note></notes>
<unit id="1">
<segment id="a" state="final">
<source>One <pc id="1">bold</pc><ph id="2"/>.</source><target>Ein <pc id="1">fett</pc>.</target></segment>
<ignorable><source> </source></ignorable>
<segment state="initial"><source>Two</source><target>Zwei</target></segment>
<segment><source>Three<sc id="1"/>!<ec startRef="1"/></source><target>Drei<mrk id="m" type="term">!</mrk></target></segment>
</unit>
<unit id="2" translate="no"><segment state="final"><source>Tower</source><target>Turm</target></segment></unit>
</file></xliff>
"""


def used(found: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(row["id"], row["original"], row["translation"]) for row in found if not row["dropped"]]


def test_version_1_2(tmp_path: Path, rows: Rows) -> None:
    path = tmp_path / "app.xlf"
    path.write_text(OLD)
    found = rows(kind="xliff", path=f"{tmp_path}/*.xlf")
    assert used(found) == [
        ("c/app.xlf:1#u1", "Save", "Salvar"),
        ("c/app.xlf:2#u2", "Open the file", "Abrir o arquivo"),
        ("c/app.xlf:6#u6", "Yes", "Sim"),
    ]
    kept = [row for row in found if not row["dropped"]]
    assert [row["position"] for row in kept] == [1, 2, 6]
    assert {(row["language"], row["document"]) for row in kept} == {("en-pt_BR", "c/app.xlf/app.html")}
    later = "unused: not translated yet"
    assert [(row["dropped"], row["detail"], row["id"]) for row in found if row["dropped"]] == [
        (later, "its state is new", f"{path}:12"),
        (later, "its state is needs-translation", f"{path}:13"),
        (later, "it is not approved", f"{path}:14"),
        ("unused: untranslated", "there is no translation", f"{path}:16"),
        ("unused: untranslated", "there is no translation", f"{path}:17"),
        ("unused: not for translation", "it is marked as not for translation", f"{path}:18"),
        ("read: missing field", "there is no source", f"{path}:19"),
        ("read: empty", "source is empty", f"{path}:20"),
        ("read: missing field", "the file names no target-language (2.0: trgLang)", f"{path}:23"),
    ]


def test_version_2_0(tmp_path: Path, rows: Rows) -> None:
    path = tmp_path / "page.xlf"
    path.write_text(NEW)
    found = rows(kind="xliff", path=str(path))
    assert used(found) == [("c/page.xlf:1#1", "One bold.", "Ein fett."), ("c/page.xlf:3#1", "Three!", "Drei!")]
    assert {(row["language"], row["document"]) for row in found if not row["dropped"]} == {("en-de", "c/page.xlf/page.md")}
    assert [(row["dropped"], row["id"]) for row in found if row["dropped"]] == [
        ("unused: not translated yet", f"{path}:7"),
        ("unused: not for translation", f"{path}:10"),
    ]


def test_one_bad_language_is_the_reason_of_every_unit(tmp_path: Path, rows: Rows) -> None:
    (tmp_path / "a.xlf").write_text(NEW.replace('trgLang="de"', 'trgLang="german"'))
    assert {row["dropped"] for row in rows(kind="xliff", path=f"{tmp_path}/a.xlf")} == {"read: unknown language"}


def test_broken_xml_says_where(tmp_path: Path, parts: Parts) -> None:
    (tmp_path / "a.xlf").write_text(OLD.replace("</group>", "</grupo>"))
    [part] = parts(kind="xliff", path=f"{tmp_path}/a.xlf")
    with pytest.raises(DataError, match=r"a\.xlf:11:9 is broken XML: Opening and ending tag mismatch: group line 7 and grupo"):
        list(dispatch.read(part))
