"""Amounts with a unit or a currency, and the separators of their figures."""

import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from verifiers.translation import languages
from verifiers.translation.numbers import TOKEN, canonical, western_digits
from verifiers.translation.segment import Finding, Segment

_UNITS = {
    "%": "%|٪|％|percent|per cent|pro[csz]+ent|százal|パーセント|p(?:or|our) ?ci?ent|процент|відсот|퍼센트|प्रतिशत|百分之",
    "$": r"(?:US|CA|AU)?\$|USD|dollar|dólar|доллар|долар|달러|ドル|美元|डॉलर|dolar",
    "€": "€|EUR|euro|евро|євро|유로|ユーロ|欧元|歐元|यूरो",
    "£": "£|GBP|pound|фунт|파운드|ポンド|英镑|英鎊|pfund|livre|libra|sterlin",
    "¥": "¥|￥|JPY|CNY|yen|иен|єн|円|엔|日元|人民币|येन|元",
    "kB": "[kк][bб]|ko|kt|kilob|килоб|кілоб|킬로바이트|キロバイト|千字节|किलोबाइट|केबी",
    "MB": "MB|Mo|Mt|МБ|Мб|megab|mégao|мегаб|메가바이트|メガバイト|兆字节|मेगाबाइट|एमबी",
    "GB": "GB|Go|Gt|ГБ|Гб|gigab|gigao|гигаб|гігаб|기가바이트|ギガバイト|吉字节|गीगाबाइट|जीबी",
    "TB": "TB|To|Tt|ТБ|Тб|terab|térao|тераб|테라바이트|テラバイト|太字节|टेराबाइट",
    "km": "km|км|kilom|quil[oó]m|kilóm|chilom|килом|кілом|킬로미터|キロ|公里|千米|किमी|किलोमीटर|कि",
    "cm": "cm|см|cent[ií]m|zentim|сантим|센티미터|センチ|厘米|公分|सेमी|सेंटीमीटर",
    "mm": "mm|мм|mil[ií]m|millim|миллим|мілім|밀리미터|ミリ|毫米|公釐|मिमी|मिलीमीटर",
    "kg": "kg|кг|kilo|quilo|chilo|кило|кіло|킬로그램|キロ|公斤|千克|किग्रा|किलो|कि",
    "°C": "°\\s?C|℃|c[eé]ls|цельс|цельсі|섭씨|摄氏|攝氏|摂氏|सेल्सियस|°\\s?С",
    "°F": "°\\s?F|℉|fahrenheit|фаренг|화씨|华氏|華氏|फ़ारेनहाइट|फारेनहाइट",
    "px": "px|пикс|пікс|pixel|píxel|pixl|piksel|픽셀|ピクセル|像素|पिक्सेल|képpont|kuvapist|bildpunkt|točk|pkt|пкс",
    "ms": "ms|мс|m(?:il)+i?s|мілісек|миллисек|밀리초|ミリ秒|毫秒|मिलीसेकंड",
}
"""What a unit is called: its sign and the beginnings of its names, wherever they are used."""
_SIGNS = {
    **{unit: re.escape(unit) for unit in _UNITS},
    "$": r"(?:US|CA|AU)?\$|USD",
    "€": "€|EUR",
    "£": "£|GBP",
    "¥": "¥|JPY",
    "kB": "kB|KB",
}
_BEFORE = frozenset("$€£¥")
_POINT = frozenset(["en", "he", "hi", "ja", "ko", "th", "zh", "es_MX", "es_419", "de_CH"])
"""Languages with a decimal point; the others have a comma."""


@dataclass(frozen=True, slots=True)
class _Amount:
    figures: str
    unit: str

    @property
    def value(self) -> tuple[str, ...]:
        return tuple(canonical(self.figures))


def units(segment: Segment) -> Finding | None:
    """The amounts of the source reappear beside a sign or name of their unit; the figure without the unit is half right."""
    wanted = dict.fromkeys(_amounts(segment.source_prose))
    if not wanted:
        return None
    text = western_digits(segment.response_prose)
    found = _by_value(text)
    scores = [max((_unit_score(text, each, amount.unit) for each in found[amount.value]), default=0.0) for amount in wanted]
    wrong = [f"{amount.figures} {amount.unit}" for amount, score in zip(wanted, scores, strict=True) if score < 1]
    return Finding(sum(scores) / len(scores), f"missing {', '.join(wrong[:4])}" if wrong else "")


def number_format(segment: Segment) -> Finding | None:
    """Amounts with decimals or thousands have the target's separators; the right figures with others are half right.

    Only amounts: what else has a point may be a version or a section.
    """
    wanted = [amount for amount in dict.fromkeys(_amounts(segment.source_prose)) if re.search(r"\D", amount.figures)]
    if not wanted:
        return None
    found = _by_value(western_digits(segment.response_prose))
    mark = decimal_mark(segment.target_lang)
    scores = [max((_format_score(each.group(), amount, mark) for each in found[amount.value]), default=0.0) for amount in wanted]
    wrong = [amount.figures for amount, score in zip(wanted, scores, strict=True) if score < 1]
    return Finding(sum(scores) / len(scores), f"not as the locale writes it: {', '.join(wrong[:4])}" if wrong else "")


def decimal_mark(code: str) -> str:
    """`.` or `,`, as a language's numbers have it."""
    return "." if {languages.canonical(code), languages.base(code)} & _POINT else ","


def _amounts(prose: str) -> Iterator[_Amount]:
    text = western_digits(prose)
    for match in TOKEN.finditer(text):
        for unit, signs in _SIGNS.items():
            before = unit in _BEFORE and _before(signs).search(text[max(0, match.start() - 5) : match.start()])
            if before or _after(signs).match(text, match.end()):
                yield _Amount(match.group(), unit)
                break


@cache
def _after(signs: str) -> re.Pattern[str]:
    return re.compile(rf"\s?-?(?:{signs})(?!\w)")


@cache
def _before(signs: str) -> re.Pattern[str]:
    return re.compile(rf"(?<![A-Za-z$])(?:{signs})\s?$")


def _by_value(text: str) -> defaultdict[tuple[str, ...], list[re.Match[str]]]:
    """Where each number stands."""
    found = defaultdict(list)
    for match in TOKEN.finditer(text):
        found[tuple(canonical(match.group()))].append(match)
    return found


def _unit_score(text: str, match: re.Match[str], unit: str) -> float:
    around = text[max(0, match.start() - 12) : match.start()] + " " + text[match.end() : match.end() + 16]
    return 1.0 if re.search(rf"(?<![^\W\d_])(?:{_UNITS[unit]})", around, re.IGNORECASE) else 0.5


def _format_score(figures: str, amount: _Amount, mark: str) -> float:
    has_decimals = "." in amount.value[0]
    marks = re.findall(r"\D", figures)
    groups = marks[:-1] if has_decimals else marks
    return 1.0 if mark not in groups and (not has_decimals or marks[-1] == mark) else 0.5
