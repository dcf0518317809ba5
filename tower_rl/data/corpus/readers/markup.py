"""XML of translation tools, unit by unit, in bounded memory: what TMX and XLIFF share."""

from collections.abc import Iterator, Sequence
from typing import Any

from lxml import etree

from tower_rl.data.corpus.readers import places
from tower_rl.data.corpus.readers.part import BadRow, Part
from tower_rl.data.rows import DataError

_CODES = ("bpt", "ept", "ph", "it", "ut", "sub")


def elements(part: Part[Any], tags: Sequence[str], events: Sequence[str] = ("end",)) -> Iterator[tuple[str, str, etree._Element]]:
    """Event, local name and element for every element of these names, in any namespace; cleared once it is passed.

    Nothing outside the file is loaded and no entity expanded; libxml2's limits on size and depth hold.

    Raises DataError with line and column where the XML is broken: how many units are lost behind, nobody knows.
    """
    path = part.paths[0]
    with places.opened(path) as stream:
        parser = etree.iterparse(
            stream,
            events=tuple(events),
            tag=tuple(f"{{*}}{tag}" for tag in tags),
            resolve_entities=False,
            load_dtd=False,
            no_network=True,
            huge_tree=False,
        )
        try:
            for event, element in parser:
                yield event, etree.QName(element).localname, element
                if event == "end":
                    _forget(element)
        except etree.XMLSyntaxError as error:
            line, column = error.position
            raise DataError(f"{path}:{line}:{column} is broken XML: {error.msg}") from error


def plain(element: etree._Element) -> str:
    """The text of a segment without its codes.

    Content of bpt, ept, ph, it, ut and sub is another format's markup and goes; content of hi, g, mrk and pc is text and stays.
    (TMX 1.4b, 4.3; XLIFF 1.2, 2.3; XLIFF 2.0, 4.7)
    """
    pieces = [element.text or ""]
    for child in element:
        if isinstance(child, etree._Entity):
            raise BadRow("read: unknown entity", f"the entity {child.text} is not resolved")
        if isinstance(child.tag, str) and etree.QName(child).localname not in _CODES:
            pieces.append(plain(child))
        pieces.append(child.tail or "")
    return "".join(pieces)


def children(element: etree._Element, name: str) -> list[etree._Element]:
    """The element's own children of this name, in any namespace."""
    return element.findall(f"{{*}}{name}")


def _forget(element: etree._Element) -> None:
    element.clear(keep_tail=False)
    parent = element.getparent()
    while parent is not None and element.getprevious() is not None:
        del parent[0]
