"""What an answer must look like before values are compared: math-verify takes `1=2=5`, `5 \\text{ or not}` and `2+3` for 5."""

import re
from fractions import Fraction
from itertools import islice

_UNSIGNED = r"(?:\d+(?:\.\d+)?|\.\d+)"
_NUMBER = rf"[-+]?{_UNSIGNED}"
_POWER_OF_TEN = re.compile(rf"(?:({_NUMBER})(?:\\times|\\cdot|\*|x)|([-+]?))10\^\{{?([-+]?\d{{1,3}})\}}?")
_FRACTION = re.compile(rf"([-+]?)(\d*)\s?(?:\\frac\{{({_NUMBER})\}}\{{({_NUMBER})\}}|(?<!\d)({_UNSIGNED})/({_UNSIGNED}))")
_NAME = re.compile(
    r"[a-zA-Z]{1,20}(?:[-+][a-zA-Z]{1,9})*|\\[a-zA-Z]+|[a-zA-Z]_\{?\w+\}?|[a-zA-Z]\([a-zA-Z]\)|\([a-zA-Z](?:,[a-zA-Z])+\)"
)
_RELATION = re.compile(r"=|<|>|\\(?:[lg]eq?(?:slant)?|lt|gt|neq?|approx|equiv|sim|in)(?![a-zA-Z])|[≈≡]")
_SIGN = re.compile(r"(<|>|\\(?:[lg]eq?(?:slant)?|lt|gt)(?![a-zA-Z]))")
_UNKNOWN = re.compile(r"[a-zA-Z](?:_\{?\w+\}?)?|\\(?:theta|alpha|lambda)")
_OR = re.compile(r"\\text\{\s*(?:or|oder|ou|o|или)\s*\}|\s(?:or|oder|ou|o|или)\s|\\(?:lor|vee)(?![a-zA-Z])")
_AND = "and|or|und|oder|et|ou|и|или|і|або|och|og|eller|oraz|lub|veya|و|أو|और|या"
_JOINER = re.compile(
    rf"(?:,\s*)?(?:\\text\{{\s*(?:{_AND}|y|o|e|en|of|i|a|ve)\s*\}}|(?<=[\s\d}})])(?:{_AND})(?=[\s\d(])|和|或|と)"
)
_HEDGE = re.compile(
    r"(?<![^\W\d_])(?:or|and|not|maybe|perhaps|either|oder|nicht|und|vielleicht|ou|pas|non|ni|o|no|não|y|e|u|и|или|не|або|nie|lub|of|niet"
    r"|eller|ikke|inte|tai|sau|vagy|nebo|veya|hoặc|atau|ή|أو|ليس|یا|או|या|नहीं|বা)(?![^\W\d_])"
    r"|或|不|または|とか|또는|아니|หรือ|ไม่|\\(?:lor|vee|land|wedge|lnot|neg)(?![a-zA-Z])",
    re.IGNORECASE,
)
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|rm|operatorname)\s*\{([^{}]*)\}")
_UNEVALUATED = re.compile(
    r"\\(?:int|iint|oint|sum|prod|lim|binom|dbinom|tbinom|choose|det|gcd|lcm|max|min|sup|inf|Gamma|partial|lfloor|lceil|bmod|pmod"
    r"|sin|cos|tan|cot|sec|csc|arcsin|arccos|arctan|log|ln)(?![a-zA-Z])|!|\\frac\{d\}"
)
_LETTER = r"(?:[^\W\d_]|[\u0300-\u036f\u0591-\u05c7\u064b-\u0670\u0900-\u0e7f])"  # the marks of many scripts are no \w
_UNIT_WORD = rf"(?:(?!pi\b){_LETTER}{{2,}}|[mgslLhNJWVAKCF]|[^\W\d_a-zA-ZͰ-Ͽ])"
"""A word, the letter of a unit (5x is no five), or one character of a script without spaces."""
_BRACKETS = {"(": ")]", "[": ")]"}


def unwrapped(text: str) -> str:
    """Without a \\boxed{...}, dollar signs or spaces around the whole."""
    text = text.strip()
    if match := re.fullmatch(r"\\boxed\{(.*)\}", text, re.DOTALL):
        text = match.group(1).strip()
    return text.strip("$").strip()


def squeezed(text: str) -> str:
    """Without spaces but between digits (5 6 is not 56), for comparing how two answers are written."""
    return re.sub(r"(?<!\d)\s+|\s+(?!\d)", "", text)


def is_words(gold: str) -> bool:
    """Whether a gold answer is text (a name, or a letter of a choice) and not mathematics."""
    plain = words(gold)
    return re.fullmatch(r"[A-E]|[^\W\d_]{2,}(?:[ '-][^\W\d_]+)*", plain, re.IGNORECASE) is not None and (
        "\\text" in gold or "\\mathrm" in gold or re.fullmatch(r"\(?[A-E]\)?|[^\W\d_]{3,}(?:[ '-][^\W\d_]+)*", gold) is not None
    )


def words(text: str) -> str:
    """The text without LaTeX wrappers, brackets and case: `\\text{(B)}` is b."""
    return _TEXT.sub(r"\1", text).strip().strip("().*").strip().casefold()


def echoes(prompt: str, answer: str) -> bool:
    """Whether an answer with more than a plain integer in it stands in the problem as it is: copied, not solved."""
    short = squeezed(answer)
    if re.fullmatch(r"[-+]?\d+(?:\.0+)?", short) or len(short) < 3:
        return False
    problem = re.sub(r"\\left|\\right|\$", " ", prompt.replace(r"\dfrac", r"\frac").replace("**", "^"))
    spaced = r"\s*".join(map(re.escape, short))
    return re.search(rf"(?<![\w.]){spaced}(?![\w^]|\.\d)", problem) is not None


def formulas(prompt: str, answer: str) -> list[str]:
    """The formulas of a problem that have an answer's letters, at most eight; none that is to be evaluated."""
    found = ("".join(parts) for parts in re.findall(r"\$+([^$]+)\$|\\\((.+?)\\\)|\\\[(.+?)\\\]", prompt))
    alike = (each for each in found if _letters(each) == _letters(answer) and not _UNEVALUATED.search(each))
    return list(islice(alike, 8))


def _letters(text: str) -> set[str]:
    return set(re.findall("[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", text)))


def refused(answer: str, gold: str) -> str | None:
    """Why the form of an answer cannot count as this gold answer, whatever its value; None when it can."""
    relations, asked = len(_RELATION.findall(answer)), len(_RELATION.findall(gold))
    if relations > max(asked, 1):
        return "a chain of relations"
    if relations > asked and ("=" not in answer or not _NAME.fullmatch(squeezed(answer.split("=")[0]))):
        return "a relation where one value is asked for"
    if _HEDGE.search(_prose(answer)) and not _HEDGE.search(_prose(gold)):
        return "more than one answer, or a hedged one"
    value = value_of(answer, gold)
    if not re.search(r",|\\pm", without_grouping(gold)) and re.search(r"[,;]|\\pm", without_grouping(value).rstrip(",;")):
        return "a list where one value is asked for"
    if not _same_brackets(value, gold):
        return "other brackets than the reference: a set, a pair and an interval are different things"
    return _unevaluated(value, gold)


def _as_intervals(text: str) -> str:
    r"""Inequalities of one unknown as intervals: `0 \le x < 1` is [0,1), `x < 1 \lor x > 2` is (-\infty,1)\cup(2,\infty)."""
    text = re.sub(r"^\s*[a-zA-Z]\s*\\in(?![a-zA-Z])\s*", "", text)
    text = re.sub(r"^\s*\\mathbb\s*\{?R\}?\s*$", r"(-\\infty,\\infty)", text)
    intervals = [_interval(part) for part in _OR.split(text)]
    return r"\cup".join(each for each in intervals if each) if all(intervals) else text


def _interval(inequality: str) -> str | None:
    """`a < x \\le b` as (a,b], with one side missing as infinity; None for anything else."""
    parts = [part.strip() for part in _SIGN.split(inequality)]
    upwards = {sign[0] == "<" or sign[1:2] == "l" for sign in parts[1::2]}
    if len(upwards) != 1:
        return None
    if upwards == {False}:
        parts.reverse()
    if len(parts) == 3:
        parts = [r"-\infty", "<", *parts] if _UNKNOWN.fullmatch(parts[0]) else [*parts, "<", r"\infty"]
    low, first, name, second, high = parts if len(parts) == 5 else [""] * 5
    if not _UNKNOWN.fullmatch(name) or re.search(r"[a-zA-Z]", re.sub(r"\\[a-zA-Z]+", "", low + high)):
        return None
    return f"{'[('[_is_strict(first)]}{low},{high}{'])'[_is_strict(second)]}"


def _is_strict(sign: str) -> bool:
    return sign in ("<", ">", r"\lt", r"\gt")


def plainly(gold: str) -> str:
    """The reference with inequalities as intervals, and a list of values with commas alone: `1 \\text{ or } 2` as `1,2`."""
    return _JOINER.sub(",", _as_intervals(gold))


def written_like(gold: str, answer: str) -> str:
    """The answer so, too; where the gold one is a list of values, also without names: `x=1 \\text{ or } x=2` as `1,2`."""
    answer = _as_intervals(answer)
    if "," not in re.sub(r"[(\[{][^()\[\]]*[)\]}]", "", without_grouping(gold)) or _RELATION.search(gold):
        return answer
    return re.sub(r"(?<![\w\\])[a-zA-Z](?:_\{?\w+\}?)?\s*=\s*", "", _JOINER.sub(",", answer))


def value_of(answer: str, gold: str) -> str:
    """The right side of `x = value`, unless the gold answer is a relation itself; else the answer."""
    if _RELATION.search(gold) or answer.count("=") != 1 or "<" in answer or ">" in answer:
        return answer
    return answer.split("=")[1].strip()


def plain_number(text: str) -> Fraction | None:
    """The value of a decimal, fraction, mixed number or power of ten, with digit grouping and unit or without; else None."""
    number = _number(text)
    if re.fullmatch(_NUMBER, number):
        return Fraction(number)
    if match := _POWER_OF_TEN.fullmatch(number):
        factor, sign, exponent = match.groups()
        return Fraction(factor or f"{sign}1") * Fraction(10) ** int(exponent)
    if not (match := _FRACTION.fullmatch(number)):
        return None
    sign, whole, *parts = match.groups()
    top, bottom = (Fraction(part) for part in parts if part is not None)
    return (-1 if sign == "-" else 1) * (Fraction(whole or 0) + top / bottom) if bottom else None


def is_decimal(number: Fraction) -> bool:
    """Whether its decimals end: then it is compared exactly."""
    return 10**1000 % number.denominator == 0


def same_share(answer: str, gold: str) -> bool:
    """Whether one of them is a percentage and the other the same value without percent: 50% and 0.5."""
    ours, theirs = plain_number(gold), plain_number(answer)
    if ours is None or theirs is None or ("%" in answer) == ("%" in gold):
        return False
    return theirs == 100 * ours if "%" in answer else ours == 100 * theirs


def _number(text: str) -> str:
    """What of a number is the number: no unit, spaces, digit grouping or round brackets."""
    return re.sub(r"^\((.*)\)$", r"\1", squeezed(_without_unit(without_grouping(text))))


def without_grouping(text: str) -> str:
    """English digit grouping removed: 1,000 is one number, not a list."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


def comparable(answer: str, gold: str) -> str:
    """What to parse of an answer: its value; of a number without the unit, or "18 dollars" is a product of letters."""
    value = value_of(answer, gold)
    return value if plain_number(gold) is None else _without_unit(value)


def _unevaluated(answer: str, gold: str) -> str | None:
    """A plain number is asked for: an integral, 5! or 2+3 has its value, but is the question and not the answer."""
    if plain_number(gold) is None:
        return "an unevaluated expression" if _UNEVALUATED.search(answer) and not _UNEVALUATED.search(gold) else None
    unreduced = _FRACTION.fullmatch(_number(answer)) and re.fullmatch(r"[-+]?\d+", _number(gold))
    return "an unevaluated expression where a number is asked for" if unreduced or plain_number(answer) is None else None


def _without_unit(text: str) -> str:
    """A number without its currency, percent, degree sign and up to four words of unit after it."""
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?|°|\\?%|\\?\$|[€£¥]|(?:US|USD|EUR)(?=\s*\d)", "", text)
    text = _TEXT.sub(r" \1", text)
    text = re.sub(r"\^\{?[23]\}?\s*$", "", text) if re.search(r"[a-zA-Z]\s*\^\{?[23]\}?\s*$", text) else text
    return re.sub(rf"(?<=[\d}}])\s*(?:{_UNIT_WORD}(?:[./-]\s*|\s+|$)){{1,4}}$", "", text.strip()).strip()


def _prose(text: str) -> str:
    """The text with LaTeX commands removed but the content of \\text{...} kept, so that only words are words."""
    text = re.sub(r"(?<!\w)[eouy](?=\s*(?:[\^=+*/}),-]|$))", " ", _TEXT.sub(r" \1 ", text))  # y = 2x is no Spanish "and"
    return re.sub(r"\\(?!lor|vee|land|wedge|lnot|neg)[a-zA-Z]+", " ", text)


def _same_brackets(answer: str, gold: str) -> bool:
    """A gold pair or interval (1,2] needs the same brackets around the answer, unless that is a relation such as x < 2."""
    gold, answer = squeezed(gold), squeezed(answer)
    if "," not in gold or gold[:1] not in _BRACKETS or gold[-1:] not in _BRACKETS[gold[0]] or _RELATION.search(answer):
        return True
    return answer[:1] == gold[0] and answer[-1:] == gold[-1]
