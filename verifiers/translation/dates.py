"""Dates and times of day: read in the source, looked for in the translation, where they are written as its locale does."""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from verifiers.translation import languages
from verifiers.translation.numbers import western_digits
from verifiers.translation.segment import Finding, Segment

_MONTHS = {
    "cs": "ledn/leden únor břez dube/dubn květ červen/červn červenec/července/červenc srpe/srpn září říje/říjn listop pros",
    "da": "janu febr mart apri maj juni juli augu sept okto nove dece",
    "de": "janu/jänn febr/feber märz apri mai juni juli augu sept okto nove deze",
    "en": "janu febr marc apri may june july augu sept octo nove dece",
    "es": "ener febr marz abri mayo juni juli agos sept/seti octu novi dici",
    "fi": "tammi helmi maalis huhti touko kesä heinä elok syys loka marras joulu",
    "fr": "janv févr mars avri mai juin juil août sept octo nove déce",
    "hi": "जनवरी फ़रवरी/फरवरी मार्च अप्रै मई जून जुला अगस्त सितं/सितम् अक्टू/अक्तू नवं/नवम् दिसं/दिसम्",
    "hu": "janu febr márc ápri máju júni júli augu szept októ nove dece",
    "is": "janú febr mars aprí maí júní júlí ágús sept októ nóve dese",
    "it": "genn febb marz apri magg giug lugl agos sett otto nove dice",
    "nb": "janu febr mars apri mai juni juli augu sept okto nove dese",
    "nl": "janu febr maart/mrt apri mei juni juli augu sept okto nove dece",
    "pl": "stycz lute/luty marz/marc kwie maj/maja czerw/czerwc lipi/lipc sierp wrze paźdz listop grud",
    "pt": "jane feve març abri maio junh julh agos sete outu nove deze",
    "ro": "ianu febr mart apri mai iuni iuli augu sept octo noie dece",
    "ru": "янва февр март апре мая/май июня/июнь июля/июль авгу сент октя нояб дека",
    "sv": "janu febr mars apri maj juni juli augu sept okto nove dece",
    "uk": "січе/січн люти/люто берез квіте/квітн трав/травн черве/червн липе/липн серп верес жовт листоп груд",
}
"""Beginnings of the months' names; those of four letters and more go on, and the first three letters are an abbreviation."""
_MONTHS |= {"nn": _MONTHS["nb"], "no": _MONTHS["nb"], "ja": "", "ko": "", "zh": ""}
_YEAR_FIRST = frozenset(["hu", "ja", "ko", "sv", "zh"])
_TIME_WITH_POINT = frozenset(["da", "fi", "it", "nb", "nn", "no"])
_TWELVE_HOURS = frozenset(["en", "es_419", "es_MX", "hi", "ja", "ko", "zh"])

_ISO = re.compile(r"(?<!\d)(?P<y>\d{4})-(?P<m>\d\d)-(?P<d>\d\d)(?!\d)")
_EAST = re.compile(r"(?:(?P<y>\d{4})\s*[年년]\s*)?(?P<m>\d{1,2})\s*[月월](?:\s*(?P<d>\d{1,2})\s*[日号號일])?")
_NUMERIC = re.compile(r"(?<![\d./-])(\d{1,4})([./-])\s?(\d{1,2})\2\s?(\d{1,4})(?![\d/-]|\.\d)")
_TIME = re.compile(
    r"(?:(?P<before>午前|午後|上午|下午|오전|오후)\s{0,2})?(?<![\d:.,])(?P<hour>[01]?\d|2[0-4])"
    r"(?:(?P<sign>[:.時时點点시]|\s?h|\s?Uhr)\s?(?P<minute>[0-5]\d)(?:[:.][0-5]\d)?(?!\d|[.:,]\d)|(?=\s?[ap]\.?m\b))"
    r"\s{0,2}(?P<after>[ap]\.?\s?m\b\.?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Moment:
    """A date or a time that a text names."""

    value: tuple[int | None, ...]
    """(year, month, day), year and day None where it is not said; or (minute of the day,)."""
    native: bool
    """Whether it is written as the language writes it."""
    start: int
    end: int
    """Where it stands in the text."""


def dates(segment: Segment) -> Finding | None:
    """The dates and times of the source reappear; one in another locale's form is half right."""
    wanted = {each.value: each for each in moments(segment.source_prose, segment.source_lang) if each.native}
    if not wanted or languages.base(segment.target_lang) not in _MONTHS:
        return None
    found = sorted(moments(segment.response_prose, segment.target_lang), key=lambda each: each.native)
    best = {value: 1.0 if each.native else 0.5 for each in found for value in _less_exact(each.value)}
    score = sum(best.get(value, 0.0) for value in wanted) / len(wanted)
    wrong = [segment.source_prose[each.start : each.end] for value, each in wanted.items() if best.get(value, 0.0) < 1]
    return Finding(score, f"not found, or not in the locale's form: {', '.join(wrong[:4])}" if wrong else "")


def without_dates(segment: Segment) -> tuple[str, str]:
    """Prose of source and response without the dates and times of the source: the numbers that are left must be equal."""
    wanted = list(moments(segment.source_prose, segment.source_lang))
    values = {each.value for each in wanted}
    found = moments(segment.response_prose, segment.target_lang) if values else []
    same = [each for each in found if values.intersection(_less_exact(each.value))]
    return _blank(segment.source_prose, wanted), _blank(segment.response_prose, same)


def moments(text: str, code: str) -> Iterator[Moment]:
    """Dates, then times, of a text of a language. A date of figures alone yields each reading, the locale's as native."""
    text = western_digits(text)
    for pattern in (_ISO, _EAST, *_written(languages.base(code))):
        found = [moment for match in pattern.finditer(text) if (moment := _date(match, code))]
        yield from found
        text = _blank(text, found)
    for match in _NUMERIC.finditer(text):
        yield from _readings(match, code)
    text = _NUMERIC.sub(lambda match: " " * len(match.group()), text)
    for match in _TIME.finditer(text):
        if match["sign"] == "." and languages.base(code) not in _TIME_WITH_POINT:
            continue
        half = (match["before"] or "") + (match["after"] or "").lower()
        late = half[:1] == "p" or half in ("午後", "下午", "오후")
        hour = int(match["hour"]) % 12 + 12 * late if half else int(match["hour"])
        native = not match["after"] or bool({languages.canonical(code), languages.base(code)} & _TWELVE_HOURS)
        yield Moment((60 * hour + int(match["minute"] or 0),), native, match.start(), match.end())


@cache
def _written(base: str) -> tuple[re.Pattern[str], ...]:
    """Patterns of dates with a month's name."""
    if not (names := _names(base)):
        return ()
    whole = "|".join(sorted((name for name in names if len(name) > 3), key=len, reverse=True))
    short = "|".join({name[:3] for name in names})
    month = rf"(?<![^\W\d_])(?:(?P<name>{whole})\w{{0,6}}|(?P<short>{short})\b)\.?"
    day = r"(?<!\d)(?P<d>\d{1,2})(?!\d)(?:er|[.o°]|-?е|-го)?" if base != "en" else r"(?<!\d)(?P<d>\d{1,2})(?!\d)(?:st|nd|rd|th)?"
    year = r"(?P<y>\d{4})(?!\d)"
    join = r",?\s(?:of\s)?" if base == "en" else r"[\s,.]{1,2}(?:de\s|del\s)?"
    forms = (
        rf"{day}{join}{month}(?:{join}{year})?",
        rf"(?<!\d){year}[.,]?\s{month}\s{day}",
        rf"{month}\s{day}(?:{join}{year})?",
        rf"{month}{join}{year}",
    )
    return tuple(re.compile(form, re.IGNORECASE) for form in forms)


@cache
def _names(base: str) -> dict[str, int]:
    months = unicodedata.normalize("NFKC", _MONTHS.get(base, "")).split()
    return {name: month for month, names in enumerate(months, 1) for name in names.split("/")}


def _number(name: str, base: str) -> int | None:
    """Number of the month with this beginning or abbreviation, None for letters that only a search takes for equal (i, İ)."""
    names = _names(base)
    return names.get(name) or next((number for beginning, number in names.items() if beginning[:3] == name), None)


def _date(match: re.Match[str], code: str) -> Moment | None:
    parts = match.groupdict()
    name = parts.get("name") or parts.get("short")
    if name and languages.base(code) == "en" and not name[0].isupper():
        return None  # "may" and "march" are verbs
    month = _number(name.lower(), languages.base(code)) if name else int(parts["m"])
    day, year = parts.get("d"), parts.get("y")
    if month is None or month > 12 or not (day or year) or (day and int(day) > 31):
        return None
    return Moment((year and int(year), month, day and int(day)), True, match.start(), match.end())  # type: ignore[arg-type]


def _readings(match: re.Match[str], code: str) -> Iterator[Moment]:
    first, _, second, third = match.groups()
    one, two, three = int(first), int(second), int(third)
    base = languages.base(code)
    orders = {"DMY": (three, two, one), "MDY": (three, one, two)} if len(third) == 4 else {"YMD": (one, two, three)}
    usual = "YMD" if base in _YEAR_FIRST else "MDY" if base == "en" and languages.canonical(code) != "en_GB" else "DMY"
    for order, (year, month, day) in orders.items():
        if year > 999 and 1 <= month <= 12 and 1 <= day <= 31:
            yield Moment((year, month, day), order == usual, match.start(), match.end())


def _less_exact(value: tuple[int | None, ...]) -> list[tuple[int | None, ...]]:
    """A date, also without its year or its day: what it is when the source does not name them. A time is itself."""
    if len(value) == 1:
        return [value]
    year, month, day = value
    return [(year, month, day), (None, month, day), (year, month, None)]


def _blank(text: str, found: list[Moment]) -> str:
    """The text with spaces in place of what was found."""
    letters = list(text)
    for each in found:
        letters[each.start : each.end] = " " * (each.end - each.start)
    return "".join(letters)
