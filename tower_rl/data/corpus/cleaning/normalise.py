"""One way to write a text: NFC, plain line ends, no control characters, no invisible ones that carry nothing."""

import unicodedata

import pyarrow as pa
import regex

from tower_rl.data.corpus.cleaning.table import map_texts

_LINE_END = regex.compile(r"\r\n|[\r\v\f\x85\u2028\u2029]")
_JOINED = (
    r"[\p{Arabic}\p{Syriac}\p{Mongolian}\p{Devanagari}\p{Bengali}\p{Gurmukhi}\p{Gujarati}\p{Oriya}\p{Tamil}\p{Telugu}\p{Kannada}"
    r"\p{Malayalam}\p{Sinhala}\p{Tibetan}\p{Myanmar}\p{Khmer}\u0964\u0965\u064B-\u0655\u0670"
    r"\p{Extended_Pictographic}\p{Emoji_Modifier}\uFE0F]"
)
"""What a joiner can join: cursive and Indic scripts, and emoji."""
_INVISIBLE = regex.compile(
    r"([\x00-\x08\x0e-\x1f\x7f-\x84\x86-\x9f\u00ad\u2060-\u2064\ufeff\ufff9-\ufffb\ufffe\uffff]"
    rf"|(?<!{_JOINED})[\u200c\u200d]"  # joiners
    r"|(?<![\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}])\u200b"  # a zero-width space parts words in these
    r"|(?<!\U0001F3F4[\U000E0020-\U000E007F]*)[\U000E0000-\U000E007F])"  # tags, but for those that make flags of a black flag
)
_DIRECTION = regex.compile(r"[\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
_RIGHT_TO_LEFT = regex.compile(r"[\p{Arabic}\p{Hebrew}\p{Syriac}\p{Thaana}\p{Nko}]")
_TRAILING = regex.compile(r"[ \t]+(?=\n)")


def normalise(table: pa.Table) -> pa.Table:
    """The table with its texts normalised; drops nothing."""
    return map_texts(table, normalised)


def normalised(text: str) -> str:
    """One text. What a reader sees stays: no-break spaces, joiners where they join, direction marks beside right-to-left letters.

    Spaces and tabs at line ends go, and all white space but no-break spaces at the end of the text. Idempotent.
    """
    if text.isascii() and text.isprintable():
        return text.rstrip(" ")
    text = _INVISIBLE.sub("", _LINE_END.sub("\n", text))
    if not _RIGHT_TO_LEFT.search(text):
        text = _DIRECTION.sub("", text)
    return _TRAILING.sub("", unicodedata.normalize("NFC", text)).rstrip(" \t\n")
