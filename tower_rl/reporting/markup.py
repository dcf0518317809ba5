"""HTML and SVG from function calls, so that no text can reach a page without being escaped."""

from collections.abc import Iterable
from html import escape

from tower_rl.reporting.text import printable


class Markup(str):
    """Text that is HTML already. Only this module makes it."""

    __slots__ = ()


def tag(name: str, *children: str, **attributes: str | float) -> Markup:
    """An element. Children are escaped unless they are Markup; a last `_` is dropped (`class_`), any other stands for `-`."""
    pairs = "".join(f' {key.rstrip("_").replace("_", "-")}="{_escaped(_attribute(value))}"' for key, value in attributes.items())
    return Markup(f"<{name}{pairs}>{joined(children)}</{name}>")


def joined(children: Iterable[str]) -> Markup:
    """Children one after the other, escaped unless they are Markup."""
    return Markup("".join(child if isinstance(child, Markup) else _escaped(child) for child in children))


def document(title: str, style: str, body: Markup) -> str:
    """A whole page that may load and run nothing: the policy forbids scripts and requests even if escaping had a hole."""
    policy = "default-src 'none'; style-src 'unsafe-inline'"
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{_escaped(title)}</title><style>{style}</style></head>\n<body>{body}</body></html>\n"
    )


def _escaped(text: str) -> str:
    return escape(printable(text))


def _attribute(value: str | float) -> str:
    return value if isinstance(value, str) else f"{value:g}"
