"""What a translation must carry over as it is: placeholders and tags. And the prose that is left without them."""

import re
from collections import Counter
from collections.abc import Iterable

_FORMAT = r"[-+#0]*(?:\d+|\*)?(?:\.(?:\d+|\*))?(?:hh?|ll?|[Lzjtq])?[diouxXeEfFgGcrsa@]"
_PRINTF = rf"%%|%\([\w.\- ]+\){_FORMAT}|(?<!\d)%(?:\d+\$)?{_FORMAT}(?![a-z]{{2}})"
_NAMED_PERCENT = r"%[A-Z][A-Z_]{2,}%?|%\{[\w.]+\}"
_NUMBERED_PERCENT = r"(?<!\d)%[1-9]\d?(?![\d$%])"
_DOLLAR = r"\$\{[^{}\n]+\}|\$\[[^\[\]\n]+\]|\$\([\w.]+\)"
_BRACE = r"\{\{[^{}\n]*\}\}|\{[\w.\[\]]*(?:![rsa])?(?::[^{}\s]*)?\}"
_TEMPLATE = r"\{%[^{}\n]*%\}"
_PLACEHOLDER = re.compile("|".join((_TEMPLATE, _DOLLAR, _NAMED_PERCENT, _PRINTF, _NUMBERED_PERCENT, _BRACE)))
_ICU = re.compile(r"\{\s*([\w.]+)\s*,\s*(plural|selectordinal|select|number|date|time)\b")
_TAG = re.compile(r"<(/?)([A-Za-z][\w:.-]*)((?:\s+[\w:.-]+(?:\s*=\s*(?:\"[^\"]*\"|'[^']*'|[^\s\"'<>]+))?)*)\s*(/?)>")
_URL = re.compile(
    r"(?:(?:https?|ftp|file)://|mailto:|www\.)(?:(?![<>\"')\]])[!-~])+"
    r"|(?<![\w.+-])[\w.+-]+@[\w-]+\.[\w.-]+\w",  # not from inside a word: time square in its length
    re.ASCII,  # text of another script may follow without a space
)
_VOID = frozenset(["area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source", "track", "wbr"])


def placeholders(text: str) -> Counter[str]:
    """printf, Python, brace, shell, template and ICU placeholders. An ICU argument counts as {name,type}."""
    outside, arguments, _ = _without_icu(without_tags(text))
    return Counter(_PLACEHOLDER.findall(outside)) + Counter(arguments)


def tags(text: str) -> Counter[str]:
    """HTML and XML tags with the names, not the values, of their attributes (a title may be translated)."""
    return Counter(_tag_key(match) for match in _TAG.finditer(text))


def well_nested(text: str) -> bool:
    """Whether every tag is closed in the right order; tags such as <br> need no end."""
    stack: list[str] = []
    for match in _TAG.finditer(text):
        closing, name, _, single = match.groups()
        if single or name.lower() in _VOID:
            continue
        if not closing:
            stack.append(name)
        elif not stack or stack.pop() != name:
            return False
    return not stack


def addresses(text: str) -> list[str]:
    """URLs and mail addresses, also those within tags, without what ends the sentence."""
    return [address.rstrip(".,;:!?") for address in _URL.findall(text)]


def without_tags(text: str) -> str:
    """The text with a space for each tag."""
    return _TAG.sub(" ", text)


def prose(text: str) -> str:
    """The text with tags, placeholders, URLs and addresses replaced by spaces; what ICU branches say comes last."""
    outside, _, branches = _without_icu(_URL.sub(" ", without_tags(text)))
    return _PLACEHOLDER.sub(" ", " ".join([outside, *branches]))


def overlap(wanted: Counter[str], found: Counter[str]) -> float:
    """F1 of two multisets: 1 when they are equal, 0 when they share nothing or one alone is empty."""
    return 2 * (wanted & found).total() / (wanted.total() + found.total()) if wanted or found else 1.0


def difference(wanted: Counter[str], found: Counter[str]) -> str:
    """What is missing and what is too much, in a few words."""
    missing, extra = _some((wanted - found).elements()), _some((found - wanted).elements())
    return ", ".join(part for part in (missing and f"missing {missing}", extra and f"invented {extra}") if part)


def _some(items: Iterable[str]) -> str:
    return " ".join(list(items)[:4])


def _tag_key(match: re.Match[str]) -> str:
    closing, name, attributes, single = match.groups()
    names = sorted(re.findall(r"([\w:.-]+)\s*=", re.sub(r"\"[^\"]*\"|'[^']*'", "", attributes)))
    return f"<{closing}{' '.join([name, *names])}{'' if name.lower() in _VOID else single}>"


def _without_icu(text: str) -> tuple[str, list[str], list[str]]:
    """The text without its ICU arguments, those, and what their branches say. Only balanced braces are arguments."""
    arguments: list[str] = []
    branches: list[str] = []
    while match := _ICU.search(text):
        end, inner = _balanced(text, match.start())
        if end is not None:
            arguments.append(f"{{{match.group(1)},{match.group(2)}}}")
            branches.append(inner)
        text = text[: match.start()] + " " + text[end if end is not None else match.end() :]
    return text, arguments, branches


def _balanced(text: str, start: int) -> tuple[int | None, str]:
    """Where the braces that open at `start` end (None: nowhere), and the text in the braces within them."""
    depth = 0
    inner: list[str] = []
    for position in range(start, len(text)):
        character = text[position]
        depth += (character == "{") - (character == "}")
        if depth == 0:
            return position + 1, "".join(inner)
        if depth > 1:
            inner.append(" " if character in "{}" else character)
        elif character == "}":
            inner.append(" ")
    return None, ""
