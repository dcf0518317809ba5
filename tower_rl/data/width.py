"""How long a text is, so that texts of different scripts can be compared."""

import unicodedata


def width(text: str) -> int:
    """Length in columns: a Chinese, Japanese or Korean character says about as much as two letters."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(letter) in "WF" else 1 for letter in text)
