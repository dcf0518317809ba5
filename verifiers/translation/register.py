"""How a text addresses its reader, by the pronouns and verb forms that only one form of address has."""

import re
from functools import cache
from typing import Literal

from verifiers.translation import languages
from verifiers.translation.segment import Finding, Segment

# Capitalised words are read with their capital, and not at the start of a sentence, where "Sie" may be "they".
_INNER = r"(?<=[\w,;:)»“”\"'] )"
_MARKS: dict[str, tuple[str, str]] = {
    "cs": ("vy|vás|vám|vámi|váš|vaš[eíiu]\\w*|můžete|musíte|chcete|jste|máte",
           "ty|tebe|tebou|tobě|tvůj|tvoj\\w+|tvé\\w*|můžeš|musíš|chceš|jsi|máš"),
    "da": (f"{_INNER}(?:De|Dem|Deres)", "du|dig|din|dit|dine"),
    "de": (f"{_INNER}(?:Sie|Ihnen|Ihr|Ihre[mnrs]?)", "du|dich|dir|dein|deine[mnrs]?|euch|euer|eure[mnrs]?"),
    "es": ("usted|ustedes", "tú|tu|tus|ti|contigo|vosotr[oa]s|vuestr[oa]s?|puedes|tienes|quieres|debes"),
    "fi": ("teidän|teitä|teille|teiltä|teillä|teihin|voitte|haluatte|olette",
           "sinä|sinun|sinua|sinulle|sinulla|sinulta|sinut|voit|haluat|olet"),
    "fr": ("vous|votre|vos|vôtres?|veuillez", "tu|toi|tien(?:ne)?s?|tes|ton|ta|peux|veux|dois"),
    "hi": ("आप|आपका|आपकी|आपके|आपको|आपने|आपसे", "तुम|तू|तुम्हारा|तुम्हारी|तुम्हारे|तुम्हें|तुझे|तेरा|तेरी|तेरे"),
    "hu": ("Ön|Önt|Önnek|Önnel|Önök\\w*|kérjük", "te|téged|neked|veled|tiéd|nálad|tőled"),
    "is": ("þér|yður|yðar", "þú|þig|þín|þinn|þinni|þinn[ai]r?|þitt|þínu|þínum"),
    "it": (f"{_INNER}(?:Lei|Suo|Sua|Suoi|Sue)|La preghiamo", "tu|tuo|tua|tuoi|tue|te|ti|puoi|devi|vuoi|hai|sei"),
    "ja": ("(?:です|ます|ました|ません|ください|でしょう)", "(?:だよ|だね|してね|するな|しろ|だろ|君|お前)"),
    "ko": ("(?:니다|십시오|세요|시오|까요)", "(?:너|네가|너의|해라|하자|거야)"),
    "nb": (f"{_INNER}(?:De|Dem|Deres)", "du|deg|din|ditt|dine"),
    "nl": ("u|uw|uzelf", "je|jij|jou|jouw|jullie|jezelf"),
    "nn": (f"{_INNER}(?:De|Dykk|Dykkar)", "du|deg|din|ditt|dine"),
    "pl": ("Pan|Pani|Pana|Panu|Panem|Panią|Państwo|Państwa|Państwu",
           "ty|ciebie|cię|tobie|tobą|twój|twoj\\w+|twoich|twoim|możesz|musisz|chcesz|jesteś|masz"),
    "pt": ("o senhor|a senhora|vossa|vosso", "tu|ti|teu|teus|tua|tuas|contigo|podes|tens|queres|deves"),
    "ro": ("dumneavoastră|dvs|dumneavoastra", "tu|tău|tale|tăi|ție|îți|poți|trebuie să|vrei"),
    "ru": ("вы|вас|вам|вами|ваш\\w{0,3}|[а-яё]{2,}(?:ите|йте)(?:сь)?|можете|хотите",
           "ты|тебя|тебе|тобой|твой|твоя|твоё|твое|твои\\w?|твоего|твоей|твоему|можешь|хочешь"),
    "sv": ("Ni|Er|Ert|Era", "du|dig|din|ditt|dina"),
    "uk": ("ви|вас|вам|вами|ваш\\w{0,3}|можете|хочете|[а-яіїєґ]{2,}йте(?:ся)?",
           "ти|тебе|тобі|тобою|твій|твоя|твоє|твої\\w?|твого|твоєї|твоєму|можеш|хочеш"),
    "zh": ("您", "你"),
}  # fmt: skip
"""By language: words of the formal and of the informal address, as regular expressions."""
_CAPITALS = frozenset(["da", "de", "hu", "it", "nb", "nn", "pl", "sv"])
"""Languages whose formal words have a capital; elsewhere it does not matter."""


def register(segment: Segment) -> Finding | None:
    """Share of the words of address that are of the wanted register; nothing where no word shows one."""
    wanted = segment.facts.register
    if wanted is None:
        return None
    formal, informal = _counts(segment.response_prose, segment.target_lang)
    if not formal + informal:
        return None
    share = (formal if wanted == "formal" else informal) / (formal + informal)
    return Finding(share, "" if share == 1 else f"not all {wanted}: {formal} formal, {informal} informal words")


def register_of(text: str, code: str) -> Literal["formal", "informal"] | None:
    """None where no word shows it or both do."""
    formal, informal = _counts(text, code)
    return None if bool(formal) == bool(informal) else "formal" if formal else "informal"


def _counts(text: str, code: str) -> tuple[int, int]:
    """Words of formal and of informal address."""
    patterns = _patterns(languages.base(code))
    return (len(patterns[0].findall(text)), len(patterns[1].findall(text))) if patterns else (0, 0)


@cache
def _patterns(base: str) -> tuple[re.Pattern[str], re.Pattern[str]] | None:
    if base not in _MARKS:
        return None
    formal, informal = (marks if base in languages.DENSE else rf"(?<!\w)(?:{marks})(?!\w)" for marks in _MARKS[base])
    return re.compile(formal, 0 if base in _CAPITALS else re.IGNORECASE), re.compile(informal, re.IGNORECASE)
