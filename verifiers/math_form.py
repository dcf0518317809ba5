"""What an answer must look like before values are compared: math-verify takes `1=2=5`, `5 \\text{ or not}` and `2+3` for 5."""

import re
from fractions import Fraction

_NUMBER = r"[-+]?(?:\d+(?:\.\d+)?|\.\d+)"
_POWER_OF_TEN = r"(?:\\times|\\cdot|\*|x)?10\^\{?[-+]?\d{1,3}\}?"
_INTEGER = re.compile(rf"{_NUMBER}(?:{_POWER_OF_TEN})?|[-+]?10\^\{{?\d{{1,3}}\}}?")
_BRACED = rf"\{{{_NUMBER}\}}"
_FRACTION = re.compile(rf"{_NUMBER}/\d+(?:\.\d+)?|[-+]?\d*\\frac(?:{_BRACED}{_BRACED}|\d\d|{_BRACED}\d|\d{_BRACED})")
_NAME = re.compile(r"(?:[a-zA-Z]|\\[a-zA-Z]+|[a-zA-Z]_\{?\w+\}?|[a-zA-Z]\([a-zA-Z]\)|[a-zA-Z]{2,20})")
_RELATION = re.compile(r"=|<|>|\\(?:leq?|geq?|lt|gt|neq?|approx|equiv|sim|in)(?![a-zA-Z])|[≤≥≠≈∈]")
_HEDGE = re.compile(
    r"(?<![a-zA-Z])(?:or|and|not|maybe|perhaps|either|oder|nicht|und|vielleicht|ou|pas|non|ni|o|no|y|e|u|и|или|не|або|nie|lub|of|niet|eller|ikke|inte)"
    r"(?![a-zA-Z])|或|不|または|または|とか|또는|\\(?:lor|vee|land|wedge|lnot|neg)(?![a-zA-Z])",
    re.IGNORECASE,
)
_TEXT = re.compile(r"\\(?:text|textbf|textit|textrm|mathrm|mathbf|mbox|rm|operatorname)\s*\{([^{}]*)\}")
_UNEVALUATED = re.compile(
    r"\\(?:int|iint|oint|sum|prod|lim|binom|dbinom|tbinom|choose|det|gcd|lcm|max|min|sup|inf|Gamma|partial|lfloor|lceil|bmod|pmod)(?![a-zA-Z])|!|\\frac\{d\}"
)
_UNIT_WORD = r"(?:[^\W\d_]{2,}|[mgslLhNJWVAKCF]|[^\W\d_a-zA-Z])"
"""A word, the letter of a unit (5x is no five), or one character of a script without spaces."""
_BRACKETS = {"(": ")]", "[": ")]"}


def unwrapped(text: str) -> str:
    """Without a \\boxed{...}, dollar signs or spaces around the whole."""
    text = text.strip()
    if match := re.fullmatch(r"\\boxed\{(.*)\}", text, re.DOTALL):
        text = match.group(1).strip()
    return text.strip("$").strip()


def squeezed(text: str) -> str:
    """Without spaces, for comparing how two answers are written."""
    return re.sub(r"\s+|\\ ", "", text)


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
    problem = re.sub(r"\\left|\\right|\$", " ", prompt.replace(r"\dfrac", r"\frac"))
    spaced = r"\s*".join(map(re.escape, short))
    return re.search(rf"(?<![\w.]){spaced}(?![\w^]|\.\d)", problem) is not None


def refused(answer: str, gold: str) -> str | None:
    """Why the form of an answer cannot count as this gold answer, whatever its value; None when it can."""
    relation_expected = _RELATION.search(gold) is not None or re.fullmatch(r"[(\[].*[)\]]", gold) is not None or "\\cup" in gold
    if not relation_expected and _RELATION.search(answer):
        name, *values = _RELATION.split(answer)
        if len(values) != 1 or "=" not in answer or not _NAME.fullmatch(squeezed(name)):
            return "a relation where one value is asked for"
    several_expected = "," in gold or "\\pm" in gold or ";" in gold or _HEDGE.search(_prose(gold)) is not None
    if not several_expected:
        if _HEDGE.search(_prose(answer)) or "\\pm" in answer:
            return "more than one answer, or a hedged one"
        if re.search(r"[,;，、]", without_grouping(answer).rstrip(",;")):
            return "a list where one value is asked for"
    if not _same_brackets(answer, gold):
        return "other brackets than the reference: a set, a pair and an interval are different things"
    return _unevaluated(value_of(answer, gold), gold)


def without_names(answer: str, gold: str) -> str:
    """`x = 2 \\text{ or } x = 3` as `2 \\text{ or } 3`, where the gold answer is a list of values."""
    if "," not in gold or _RELATION.search(gold):
        return answer
    return re.sub(r"(?<![\w\\])[a-zA-Z](?:_\{?\w+\}?)?\s*=\s*", "", answer)


def value_of(answer: str, gold: str) -> str:
    """The right side of `x = value`, unless the gold answer is a relation itself; else the answer."""
    if _RELATION.search(gold) or answer.count("=") != 1 or "<" in answer or ">" in answer:
        return answer
    return answer.split("=")[1].strip()


def plain_number(text: str) -> Fraction | None:
    """The value of a plain decimal number, with digit grouping and unit or without; None for anything else."""
    text = squeezed(_without_unit(without_grouping(text)))
    return Fraction(text) if re.fullmatch(_NUMBER, text) else None


def without_grouping(text: str) -> str:
    """English digit grouping removed: 1,000 is one number, not a list."""
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", text)


def comparable(answer: str, gold: str) -> str:
    """What to parse of an answer: its value; of a number without the unit, or "18 dollars" is a product of letters."""
    value = value_of(answer, gold)
    return _without_unit(value) if _is_number(gold) else value


def _is_number(gold: str) -> bool:
    number = squeezed(_without_unit(without_grouping(gold)))
    return bool(_INTEGER.fullmatch(number) or _FRACTION.fullmatch(number))


def _unevaluated(answer: str, gold: str) -> str | None:
    """A plain number is asked for: an integral, 5! or 2+3 has its value, but is the question and not the answer."""
    if not _is_number(gold):
        return "an unevaluated expression" if _UNEVALUATED.search(answer) and not _UNEVALUATED.search(gold) else None
    number = squeezed(_without_unit(without_grouping(answer)))
    if _INTEGER.fullmatch(number):
        return None
    if _FRACTION.fullmatch(number) and not re.fullmatch(r"[-+]?\d+", squeezed(_without_unit(without_grouping(gold)))):
        return None
    return "an unevaluated expression where a number is asked for"


def _without_unit(text: str) -> str:
    """A number without its currency, percent, degree sign and up to four words of unit after it."""
    text = re.sub(r"\^\s*\{?\s*\\circ\s*\}?|°|\\?%|\\?\$|[€£¥]|(?:US|USD|EUR)(?=\s*\d)", "", text)
    text = _TEXT.sub(r" \1", text)
    text = re.sub(r"\^\{?[23]\}?\s*$", "", text) if re.search(r"[a-zA-Z]\s*\^\{?[23]\}?\s*$", text) else text
    return re.sub(rf"(?<=[\d}}])\s*(?:{_UNIT_WORD}[./-]?\s*){{1,4}}$", "", text.strip()).strip()


def _prose(text: str) -> str:
    """The text with LaTeX commands removed but the content of \\text{...} kept, so that only words are words."""
    text = re.sub(r"(?<!\w)[eouy](?=\s*(?:[\^=+*/}-]|$))", " ", _TEXT.sub(r" \1 ", text))  # y = 2x is no Spanish "and"
    return re.sub(r"\\(?!lor|vee|land|wedge|lnot|neg)[a-zA-Z]+", " ", text)


def _same_brackets(answer: str, gold: str) -> bool:
    """A gold pair or interval (1,2] needs the same brackets around the answer, unless that is a relation such as x < 2."""
    gold, answer = squeezed(gold), squeezed(value_of(answer, gold))
    if "," not in gold or gold[:1] not in _BRACKETS or gold[-1:] not in _BRACKETS[gold[0]] or _RELATION.search(answer):
        return True
    return answer[:1] == gold[0] and answer[-1:] == gold[-1]
