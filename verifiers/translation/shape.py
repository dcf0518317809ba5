"""Rules on the shape of a response: its length, only a translation, no word said over and over."""

import math
import re
from collections.abc import Callable, Sequence

from verifiers.text import letters, visible
from verifiers.translation import languages
from verifiers.translation.markup import prose
from verifiers.translation.segment import Finding, Segment

SHORTEST, LONGEST = 0.5, 2.0
"""Characters of a translation over those of what it is compared with, within which a length is right."""
_DENSITY = 3.0
"""How many characters of other languages one character of a dense one stands for, at most."""
_SLACK = 10
"""Characters added to both lengths: OK may become Übernehmen."""

_OPENINGS = (
    r"sure|certainly|of course|okay|ok|here(?:'s| is| are)|below is|the (?:\w+ )?translation",
    r"my translation|translation|translated text",
    r"hier ist|hier die|gerne|natürlich|die übersetzung|übersetzung",
    r"voici|bien sûr|la traduction|traduction|ecco|certo|la traduzione|traduzione",
    r"aquí|claro|por supuesto|la traducción|traducción|aqui está|a tradução|tradução",
    r"вот|конечно|перевод|翻译|译文|以下是|翻譯|譯文|翻訳|以下は|번역",
)
_PREAMBLE = re.compile(
    rf"[\s\"'*_(\[]*(?:(?:{'|'.join(_OPENINGS)})\b[^\n.:：]{{0,60}}|(?:in )?(?:{'|'.join(languages.NAMES.values())})\s*)[:：]",
    re.IGNORECASE,
)
_REMARKS = (
    r"notes?|explanation|this (?:translation|sentence|phrase|means|is a)|in this translation|literally|alternatively|let me know",
    r"i hope|please note|hinweis|anmerkung|erklärung|remarque|explication|nota|explicación|spiegazione|explicação|примечание",
    r"注|说明|解释|注意",
)
_EXPLANATION = re.compile(rf"(?:\n\s*|[.!?。]\s*[(\[]?|[(\[])[\"'*_]*(?:{'|'.join(_REMARKS)})\b", re.IGNORECASE)
_QUOTES = "\"'“”„«»‘’「」『』`"


def length(segment: Segment) -> Finding | None:
    """Character count within bounds of the reference's, or of the source's; beyond, it decays with the square of the ratio."""
    against = segment.source_prose if segment.reference is None else visible(prose(segment.reference))
    if not letters(against):
        return None
    if not letters(segment.response_prose):
        return Finding(0.0, "there is no text in the response")
    shortest, longest = SHORTEST, LONGEST
    if segment.reference is None and _dense(segment.target_lang) and not _dense(segment.source_lang):
        shortest, longest = SHORTEST / _DENSITY, LONGEST / 1.5
    elif segment.reference is None and _dense(segment.source_lang) and not _dense(segment.target_lang):
        shortest, longest = SHORTEST * 1.5, LONGEST * _DENSITY
    ratio = (_characters(segment.response_prose) + _SLACK) / (_characters(against) + _SLACK)
    excess = max(math.log(ratio / longest), math.log(shortest / ratio), 0.0)
    return Finding(math.exp(-2 * excess), "" if excess == 0 else f"the length is {ratio:.2f} times the expected")


def translation_only(segment: Segment) -> Finding:
    """Nothing around the translation: each thing that is too much costs a factor of the score."""
    found = [(factor, reason) for check, factor, reason in _EXTRAS if check(segment)]
    score = math.prod(factor for factor, _ in found)
    reasons = [reason for _, reason in found]
    expected, lines = _lines(segment.source), _lines(segment.response)
    if lines > expected:
        score *= max(expected, 1) / lines
        reasons.append(f"{lines} lines for {expected}")
    return Finding(score, ", ".join(reasons), "extra_text" if score < 1 else "")


def repetition(segment: Segment) -> Finding | None:
    """Share of different words, which may be a third lower than the source's; pairs of characters for dense languages."""
    said = _units(segment.response_prose, _dense(segment.target_lang))
    if len(said) < 4:
        return None
    meant = _units(segment.source_prose, _dense(segment.source_lang))
    normal = len(set(meant)) / len(meant) if meant else 1.0
    score = min(1.0, 1.5 * len(set(said)) / len(said) / normal)
    return Finding(score, "" if score == 1 else "the response repeats itself", "" if score > 0.5 else "repeated_text")


def _units(text: str, dense: bool) -> Sequence[str]:
    if dense:
        plain = re.sub(r"\W", "", text)
        return [plain[index : index + 2] for index in range(len(plain) - 1)]
    return re.findall(r"\w+", text.casefold())


def _dense(code: str) -> bool:
    return languages.base(code) in languages.DENSE


def _characters(text: str) -> int:
    return len("".join(text.split()))


def _lines(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def _has_preamble(segment: Segment) -> bool:
    return _PREAMBLE.match(segment.response) is not None and not re.match(r"\s*[^\n]{1,60}[:：]", segment.source)


def _has_explanation(segment: Segment) -> bool:
    return len(_EXPLANATION.findall(segment.response)) > len(_EXPLANATION.findall("\n" + segment.source))


def _is_quoted(segment: Segment) -> bool:
    source, response = segment.source.strip(), segment.response.strip()
    if len(response) < 2 or response[0] not in _QUOTES or response[-1] not in _QUOTES or any(q in source for q in _QUOTES):
        return False
    return not source.startswith("<") and not any(quote in _QUOTES for quote in response[1:-1])  # quoted names at both ends


def _echoes_source(segment: Segment) -> bool:
    source, response = (" ".join(text.casefold().split()) for text in (segment.source, segment.response))
    return letters(source) >= 10 and source != response and re.search(rf"(?<!\w){re.escape(source)}(?!\w)", response) is not None


def _has_foreign_markdown(segment: Segment) -> bool:
    return any(sign in segment.response and sign not in segment.source for sign in ("```", "**", "__")) or (
        segment.response.lstrip().startswith("#") and "#" not in segment.source
    )


_EXTRAS: tuple[tuple[Callable[[Segment], bool], float, str], ...] = (
    (_has_preamble, 0.3, "a preamble"),
    (_has_explanation, 0.3, "an explanation"),
    (_is_quoted, 0.5, "quotation marks around the whole"),
    (_echoes_source, 0.2, "the source is repeated"),
    (_has_foreign_markdown, 0.4, "Markdown that the source does not have"),
)
