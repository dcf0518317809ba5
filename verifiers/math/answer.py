"""Find the one final answer in a solution, and write it the way a parser reads it. Pure text; no sympy."""

import re
import unicodedata
from collections.abc import Callable

DECIMAL_COMMA = frozenset({
    "az", "be", "bg", "bs", "ca", "cs", "da", "de", "el", "es", "et", "eu", "fi", "fr", "gl", "hr", "hu", "hy", "id", "is", "it",
    "ka", "kk", "lt", "lv", "mk", "nb", "nl", "nn", "no", "pl", "pt", "ro", "ru", "sk", "sl", "sq", "sr", "sv",
    "tr", "uk", "uz", "vi",
})  # fmt: skip
"""Languages that write 1.234,5 (or 1 234,5); CLDR's default region of each."""

_BOX = re.compile(r"\\(?:boxed|fbox)\s*(?=\{)|\\boxed\s+(?=\S)")
_ANSWER = (
    r"\b(?:answer|antwort|lösung|réponse|respuesta|risposta|resposta|antwoord|odpowiedź|odpověď|odpoveď|svaret|svar|vastaus|răspunsul"
    r"|răspuns|válasz|απάντηση|ответ|відповідь|отговор|cevap|đáp án|jawaban|الإجابة|الجواب|پاسخ|תשובה|उत्तर|উত্তর)"
    r"|คำตอบ|答案|答え|정답|답"  # no spaces between words, or an ending
)
_IS = r"(?:is|ist|lautet|est|es|è|é|este|jest|je|är|er|είναι|là|adalah|هي|هو)\b|है|是|为|為|は|은|는|คือ"
_STATED = re.compile(rf"####|(?:{_ANSWER})(?: final[aeo]?)?[*_]*[^\S\n]*(?:(?:{_IS}) *[:：]?|[:：=—–]|-(?= ))", re.IGNORECASE)
_LAST_NUMBER = re.compile(r"[-−]?\d(?:[\d.,]*\d)?(?:/\d+)?")
_BOLD = re.compile(r"(?<!\w)\*\*([^*]+)\*\*(?!\w)")
_SENTENCE_END = re.compile(r"\n|[.!?](?=\s|$)|[。।]")
_SUPERSCRIPT = re.compile("[⁰¹²³⁴⁵⁶⁷⁸⁹⁻]+")
_GROUPED_BY_SPACE = re.compile(r"(?<=\d)(?:[\u00a0\u202f\u2009 '’]|\\[,; ])(?=\d{3}(?!\d))")
_GROUPED_BY_POINT = re.compile(r"(?<![\d.,])\d{1,3}(?:\.\d{3})+(?![\d.])")
_GROUPED_BY_COMMA = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{3})+(?![\d,])")
_GROUPED_LIKE_LAKHS = re.compile(r"(?<![\d.,])\d{1,3}(?:,\d{2,3})*,\d{3}(?![\d,])")
_DECIMAL_COMMA = re.compile(r"(?<=\d),(?=\d)")
_SAME = {
    "−": "-", "–": "-", "٫": ".", "٬": "", "،": ",", "、": ",", "؛": ";", "⁄": "/", "÷": "/", "×": r"\times ", "·": r"\cdot ",
    "٪": r"\%", "％": r"\%", "∞": r"\infty ", "π": r"\pi ", "∅": r"\emptyset ", "∪": r"\cup ",
    "∈": r"\in ", "ℝ": r"\mathbb{R}", "≤": r"\le ", "≥": r"\ge ", "≠": r"\ne ",
}  # fmt: skip


def final_answer(response: str, last_number: bool = False) -> str | None:
    """The answer that the response commits to: its last \\boxed{...}, else the last stated one ("The answer is ..."), else None.

    With `last_number`, a response with neither answers with its last number. A last box that is never closed is no answer.
    """
    if (boxes := list(_BOX.finditer(response))) or "\\boxed" in response:
        return _braced(response, boxes[-1].end()) if boxes else None
    if stated := list(_STATED.finditer(response)):
        rest = response[stated[-1].end() :].lstrip()
        if rest.startswith(("$$", r"\[")):  # a formula in lines of its own
            inside, end, after = rest[2:].partition("$$" if rest[0] == "$" else r"\]")
            rest = rest[:2] + inside.strip() + end + after
        return _bare(_SENTENCE_END.split(_BOLD.sub(r"\1", rest), maxsplit=1)[0]) or None
    if last_number and (numbers := _LAST_NUMBER.findall(response)):
        return str(numbers[-1])
    return None


def boxed_answers(response: str) -> set[str]:
    """The different closed ones among the last ten boxes, without spaces. Not all: each costs a look at all that follows it."""
    found = (_braced(response, box.end()) for box in list(_BOX.finditer(response))[-10:])
    return {re.sub(r"\s", "", each) for each in found if each is not None}


def _braced(text: str, start: int) -> str | None:
    """The content of the balanced braces at `start`, or the one token there; None when they are never closed."""
    if text[start] != "{":
        return text[start:].split(maxsplit=1)[0].rstrip("$.,")
    depth, position = 0, start
    while position < len(text):
        character = text[position]
        if character == "\\":
            position += 2
            continue
        depth += {"{": 1, "}": -1}.get(character, 0)
        if depth == 0:
            return text[start + 1 : position].strip()
        position += 1
    return None


def _bare(text: str) -> str:
    """Without the Markdown and dollar signs around it."""
    text = text.strip().strip("*_` ").strip()
    for begin, end in (("$$", "$$"), ("$", "$"), (r"\(", r"\)"), (r"\[", r"\]")):
        if len(text) > len(begin + end) and text.startswith(begin) and text.endswith(end):
            return text[len(begin) : -len(end)].strip()
    return text


def normalised(text: str) -> str:
    """ASCII digits, operators and minus signs; fullwidth forms folded; no invisible characters, no \\left and \\right."""
    text = _SUPERSCRIPT.sub(lambda match: f"^{{{unicodedata.normalize('NFKC', match.group())}}}", text)
    text = "".join(_plain_character(character) for character in text)
    text = re.sub(r"√\s*(\d+|[a-zA-Z])", r"\\sqrt{\1}", text)
    text = _GROUPED_BY_SPACE.sub("", text)
    text = re.sub(r"\\(?:left|right|bigg?|Bigg?|displaystyle)(?![a-zA-Z])|\\!", "", text)
    text = re.sub(r"\\q?quad(?![a-zA-Z])|(?<!\\)\\[,; ]", " ", text)
    text = re.sub(r"\\[dt]frac(?![a-zA-Z])", r"\\frac", text)
    text = re.sub(r"\\frac\s*(\d)", r"\\frac{\1}", text)
    text = re.sub(r"(\\frac\{[^{}]*\})\s*(\d)", r"\1{\2}", text)
    text = re.sub(r"(?<=\d)[eE]([-+]?\d{1,3})(?![\d.])", r"\\times 10^{\1}", text)  # as Python writes a float
    text = text.replace(r"\varnothing", r"\emptyset").replace("\\$", "").replace("$", "").replace("{,}", ",")
    text = text.strip().rstrip(".").strip()
    while text.startswith("{") and _braced(text, 0) == text[1:-1].strip():
        text = text[1:-1].strip()
    return text


def _plain_character(character: str) -> str:
    if character.isascii():
        return character
    if character in _SAME:
        return _SAME[character]
    if unicodedata.category(character) == "Nd":
        return str(unicodedata.decimal(character))
    if unicodedata.category(character) == "Cf":
        return ""
    if unicodedata.decomposition(character).startswith("<fraction>"):  # ½
        return "\\frac{{{}}}{{{}}}".format(*unicodedata.normalize("NFKC", character).split("⁄"))
    return unicodedata.normalize("NFKC", character) if "\uff01" <= character <= "\uff5e" else character


def references(gold: str, language: str) -> list[str]:
    """The gold answer; 1,5 in German first as a number, then as the list that it is elsewhere."""
    is_number = re.fullmatch(r"[-+]?\d+,\d+(?:[^\d,].*)?", gold) and not _GROUPED_BY_COMMA.match(gold)
    if is_number and base_language(language) in DECIMAL_COMMA:
        return [_DECIMAL_COMMA.sub(".", gold), gold]
    return [gold]


def readings(answer: str, language: str, gold: str) -> list[str]:
    """The numbers of a normalised answer as its language writes them, first, and as English writes them.

    "1.500" is 1500 in German, but a model may have meant the English 1.5: one written number, two readings.
    Where the gold answer is a list, a pair or an interval, commas separate, and a decimal comma is the other reading.
    """
    local = _DECIMAL_COMMA.sub(".", _GROUPED_BY_POINT.sub(lambda match: match.group().replace(".", ""), answer))
    if re.match(r"[(\[]|\\\{", gold) or "," in _GROUPED_BY_COMMA.sub("", gold):
        local, english = local.replace(";", ","), answer.replace(";", ",")
    else:
        english = _GROUPED_LIKE_LAKHS.sub(lambda match: match.group().replace(",", ""), answer)
    return list(dict.fromkeys([local, english])) if base_language(language) in DECIMAL_COMMA else [english]


def base_language(language: str) -> str:
    """`pt` of pt_BR, pt-BR and PT."""
    return re.split(r"[-_]", language, maxsplit=1)[0].lower()


MAX_LENGTH, MAX_DIGITS, MAX_NESTING, MAX_EXPONENT_DIGITS, MAX_FACTORIAL_DIGITS = 300, 60, 20, 4, 3


def too_costly(answer: str) -> str | None:
    """Why an answer must not reach the parser, or None. There, such an answer costs seconds to hours, and is never right."""
    checks: list[tuple[str, Callable[[str], bool]]] = [
        (f"longer than {MAX_LENGTH} characters", lambda text: len(text) > MAX_LENGTH),
        (f"a number of more than {MAX_DIGITS} digits", lambda text: re.search(rf"\d{{{MAX_DIGITS + 1}}}", text) is not None),
        (f"nested more than {MAX_NESTING} deep", lambda text: _nesting(text) > MAX_NESTING),
        ("a power tower", _has_tower),
        ("a big exponent", lambda text: re.search(rf"(?:\^|\*\*)\s*\{{?\s*-?\d{{{MAX_EXPONENT_DIGITS + 1}}}", text) is not None),
        ("a sum to a high power", lambda text: re.search(r"[)}\]]\s*(?:\^|\*\*)\s*\{?\s*\d{3}", text) is not None),
        ("a big factorial", _has_big_factorial),
    ]
    return next((reason for reason, fails in checks if fails(answer)), None)


def _nesting(text: str) -> int:
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest


def _has_tower(text: str) -> bool:
    """Whether an exponent holds a power, or a power of a number in brackets is raised again."""
    text = re.sub(r"\s+", "", text.replace("**", "^"))
    if re.search(r"\^-?(?:\d+(?:\.\d+)?|[a-zA-Z]|\\[a-zA-Z]+)\^", text):
        return True
    for match in re.finditer(r"\^[{(]", text):
        inside = _braced(text, match.end() - 1) if text[match.end() - 1] == "{" else text[match.end() :].split(")")[0]
        if inside is None or "^" in inside:
            return True
    return re.search(r"\d\^\{?-?\d+\}?[)}\]]+\^", text) is not None


def _has_big_factorial(text: str) -> bool:
    if re.search(r"!\s*!|[)}\]]\s*!", text):
        return True
    numbers = re.findall(r"\d+", text)
    grows = "!" in text or re.search(r"\\(?:d|t)?binom|\\Gamma|\\choose|factorial|gamma|binomial", text) is not None
    return grows and any(len(number) > MAX_FACTORIAL_DIGITS for number in numbers)
