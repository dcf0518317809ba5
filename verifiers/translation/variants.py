"""Which variant of a language a text is in, as far as its characters and words tell: Chinese, Portuguese and Spanish."""

import re
from functools import cache

from verifiers.translation import languages

_GROUPS = {
    "zh_CN": "zh_Hans", "zh_SG": "zh_Hans", "zh_TW": "zh_Hant", "zh_HK": "zh_Hant", "zh_MO": "zh_Hant",
    "es_MX": "es_419", "es_AR": "es_419", "es_CL": "es_419", "es_CO": "es_419", "es_PE": "es_419", "es_US": "es_419",
}  # fmt: skip
"""Variants that are told apart only as a group; es_419 is Latin America."""

_WORDS = {
    # A nasal closes the vowel in Brazil (econômico, gênero), opens it in Portugal.
    "pt_BR": r"\w+[êô][mn][aeiou]\w*|vocês?|usuári[oa]s?|arquivos?|telas?|mouse|senhas?|planilhas?|registr(?:o|os|ar|e)"
    r"|controles?|gerenci\w+|celular(?:es)?|ônibus|trem|trens|equipes?|fatos?|contatos?|seç(?:ão|ões)|mídias?|salvar|salve|acessar|acesse"
    r"|baixar|baixe|compartilh\w+|est(?:ou|á|ão) \w+ndo|esporte\w*|bilh(?:ão|ões)|aba",
    "pt_PT": r"\w+[éó][mn][aeiou]\w*|ficheiros?|ecrãs?|utilizador\w*|ratos?|palavras?-passe|folhas? de cálculo"
    r"|regist(?:o|os|ar|e)|controlos?|gerir|telemóve(?:l|is)|autocarros?|comboios?|equipas?|factos?|contactos?|secç(?:ão|ões)|multimédia|carácter"
    r"|guardar|guarde|aceder|aceda|transferir|partilh\w+|est(?:ou|á|ão) a \w+r|desport\w+|introduz(?:a|ir)|premir|hiperligaç\w+"
    r"|connosco|voss[oa]s?",
    "es_ES": r"vosotr[oa]s|vuestr[oa]s?|os|\w{2,}(?:áis|éis)|ordenador(?:es)?|ficheros?|coger|coges?|cojo|coches?|zumos?|patatas?"
    r"|gafas|aparcar",
    "es_419": r"computador(?:a|as|es)|celular(?:es)?|ustedes|carros?|jugos?|papas?|estacionar|acá|laptops?|vos|sos|tenés|podés"
    r"|querés|hacé|platicar|boletos?|enojad[oa]s?",
}
"""Words (whole, any case) that one variant uses and the other hardly does."""

_CHARACTER_SETS = {"zh_Hans": ("gb2312", "big5"), "zh_Hant": ("big5", "gb2312")}
"""A character that only the first set has is evidence for the variant."""

_RIVALS = {"pt_BR": "pt_PT", "zh_Hans": "zh_Hant", "es_ES": "es_419"}
_RIVALS |= {second: first for first, second in _RIVALS.items()}


def variant(code: str) -> str | None:
    """What is told apart: `zh_Hans` for zh-CN, None for a language without (known) variants."""
    code = _GROUPS.get(languages.canonical(code), languages.canonical(code))
    return code if code in _RIVALS else None


def share(text: str, code: str) -> float | None:
    """0..1: how much of the evidence is for this variant and not for its rival; None without evidence. `code` is of variant().

    (1 + own) / (1 + own + rival): a single word for the rival, which may be chance, halves the share.
    """
    own, rival = _evidence(text, code), _evidence(text, _RIVALS[code])
    return (1 + own) / (1 + own + rival) if own + rival else None


def _evidence(text: str, code: str) -> int:
    if code in _CHARACTER_SETS:
        return sum(_is_only_in(character, *_CHARACTER_SETS[code]) for character in text if character > "\u2e7f")
    return len(_pattern(code).findall(text))


@cache
def _pattern(code: str) -> re.Pattern[str]:
    return re.compile(rf"\b(?:{_WORDS[code]})\b", re.IGNORECASE)


@cache
def _is_only_in(character: str, one: str, other: str) -> bool:
    return _has(character, one) and not _has(character, other)


def _has(character: str, encoding: str) -> bool:
    try:
        return bool(character.encode(encoding))
    except UnicodeEncodeError:
        return False
