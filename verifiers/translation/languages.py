"""Language codes, names and scripts of the recipe's languages and variants, and a few more."""

import unicodedata

_LATIN = ("LATIN",)
_CYRILLIC = ("CYRILLIC",)

NAMES = {
    "ar": "Arabic", "bg": "Bulgarian", "ca": "Catalan", "cs": "Czech", "da": "Danish", "de": "German",
    "el": "Greek", "en": "English", "es": "Spanish", "et": "Estonian", "fa": "Persian", "fi": "Finnish",
    "fr": "French", "he": "Hebrew", "hi": "Hindi", "hr": "Croatian", "hu": "Hungarian", "id": "Indonesian",
    "is": "Icelandic", "it": "Italian", "ja": "Japanese", "ko": "Korean", "lt": "Lithuanian", "lv": "Latvian",
    "nb": "Norwegian Bokmål", "nl": "Dutch", "nn": "Norwegian Nynorsk", "no": "Norwegian", "pl": "Polish",
    "pt": "Portuguese", "ro": "Romanian", "ru": "Russian", "sk": "Slovak", "sl": "Slovenian", "sr": "Serbian",
    "sv": "Swedish", "th": "Thai", "tr": "Turkish", "uk": "Ukrainian", "vi": "Vietnamese", "zh": "Chinese",
}  # fmt: skip
VARIANTS = {
    "pt_BR": "Brazilian Portuguese", "pt_PT": "European Portuguese", "zh_Hans": "Simplified Chinese",
    "zh_Hant": "Traditional Chinese",
    "zh_CN": "Simplified Chinese", "zh_TW": "Traditional Chinese", "es_MX": "Mexican Spanish", "en_GB": "British English",
    "en_US": "American English", "fr_CA": "Canadian French", "de_AT": "Austrian German", "de_CH": "Swiss German",
    "es_AR": "Argentinian Spanish",
}  # fmt: skip
"""Variants whose name differs from that of the language."""

_SCRIPTS = {
    "ar": ("ARABIC",), "bg": _CYRILLIC, "el": ("GREEK",), "fa": ("ARABIC",), "he": ("HEBREW",), "hi": ("DEVANAGARI",),
    "ja": ("CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA"), "ko": ("HANGUL",), "ru": _CYRILLIC,
    "sr": ("CYRILLIC", "LATIN"), "th": ("THAI",), "uk": _CYRILLIC, "zh": ("CJK",),
}  # fmt: skip

DENSE = frozenset({"ja", "ko", "zh"})
"""Languages that say in one character what others say in two to four."""


def canonical(code: str) -> str:
    """`pt_BR` of pt-br, `zh_Hans` of ZH-hans, `de` of DE."""
    base, _, rest = code.replace("-", "_").partition("_")
    region = rest.upper() if len(rest) == 2 else rest.capitalize()
    return f"{base.lower()}_{region}" if rest else base.lower()


def base(code: str) -> str:
    """The language without its variant: `pt` of pt_BR."""
    return canonical(code).split("_")[0]


def is_known(code: str) -> bool:
    """Whether the rules know a language."""
    return base(code) in NAMES


def name(code: str) -> str:
    """English name of a language or variant. Raises KeyError for an unknown language."""
    return VARIANTS.get(canonical(code)) or NAMES[base(code)]


def scripts(code: str) -> tuple[str, ...]:
    """Names of the scripts that a language is written in, as the first word of the Unicode names of its letters."""
    return _SCRIPTS.get(base(code), _LATIN)


def script_of(letter: str) -> str:
    """First word of the letter's Unicode name (LATIN, CJK, HIRAGANA, ...)."""
    first = unicodedata.name(letter, "?").split(" ", 1)[0]
    return "LATIN" if first in ("FEMININE", "MASCULINE", "MICRO") else first
