"""Language tags of formats and data sets to the names of tower_rl/data/languages.py."""

import re

from tower_rl.data.languages import LANGUAGE_NAMES
from tower_rl.data.rows import DataError

_TAG = re.compile(r"(?P<language>[A-Za-z]{2,3})(?P<rest>([-_][A-Za-z0-9]{1,8})*)(@(?P<modifier>\w+))?")
_SCRIPTS = {"latin": "Latn", "cyrillic": "Cyrl"}
_TRADITIONAL = ("HK", "MO")


def language_code(tag: str) -> str:
    """For example `en` of en-US, `pt_BR` of pt-br, `zh_Hant` of zh-Hant-TW, `sr_Latn` of sr@latin; never with a `-`.

    A script stays. A region stays only where LANGUAGE_NAMES has that variant: en-US and en-GB are one language here, pt-BR
    and pt-PT are two. Chinese of Hong Kong and Macao is Traditional. (Form of tags: RFC 5646; modifiers: gettext.)

    Raises ValueError for what is no tag.
    """
    match = _TAG.fullmatch(tag.strip())
    if match is None:
        raise ValueError(f"{tag!r} is no language tag; en, pt-BR or zh_Hant are")
    language = match["language"].lower()
    subtags = [part for part in re.split("[-_]", match["rest"]) if part]
    script = _script(subtags, match["modifier"])
    region = next((part.upper() for part in subtags if re.fullmatch("[A-Za-z]{2}|[0-9]{3}", part)), None)
    if script is None and language == "zh" and region in _TRADITIONAL:
        script = "Hant"
    if script is not None:
        return f"{language}_{script}"
    return f"{language}_{region}" if f"{language}_{region}" in LANGUAGE_NAMES else language


def _script(subtags: list[str], modifier: str | None) -> str | None:
    for part in subtags:
        if re.fullmatch("[A-Za-z]{4}", part):
            return part.title()
    return _SCRIPTS.get(modifier.lower()) if modifier else None


def configured(name: str, tag: str | None) -> str:
    """The code of a language that the configuration of a corpus names; "" where it names none. Raises DataError."""
    try:
        return language_code(tag) if tag else ""
    except ValueError as error:
        raise DataError(f"corpus {name!r}: {error}") from error
