"""verifiers.metrics: the same figures as sacrebleu's, and what is no comparison."""

import time

import pytest
import sacrebleu
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verdict, verify
from verifiers.metrics import METRICS, bleu_tokenizer, corpus
from verifiers.registry import WrongOption, load

REFERENCE = "Wählen Sie die Dateien im Ordner aus."
RESPONSES = ["Wählen Sie Dateien im Ordner aus.", "wählen sie die dateien", "Etwas ganz anderes", "x", REFERENCE]
CHINESE = ("选择文件夹中的文件。", "请选择文件夹里的文件。")


def judge(name: str, response: str, reference: object = REFERENCE, target: object = "de", **options: object) -> Verdict:
    verifier = load(f"verifiers.metrics:{name.capitalize()}", **options)
    (verdict,) = verify(verifier, [Task("", response, reference=reference, meta={"target_lang": target})])
    return verdict


def score(name: str, response: str, reference: object = REFERENCE, target: object = "de", **options: object) -> float:
    verdict = judge(name, response, reference, target, **options)
    assert verdict.score is not None, verdict
    return verdict.score


@pytest.mark.parametrize("response", RESPONSES)
def test_the_figures_are_sacrebleus(response: str) -> None:
    expected = {
        "chrf": sacrebleu.sentence_chrf(response, [REFERENCE]).score / 100,
        "bleu": sacrebleu.sentence_bleu(response, [REFERENCE]).score / 100,
        "ter": 1 - min(sacrebleu.sentence_ter(response, [REFERENCE]).score / 100, 1),
    }
    assert {name: score(name, response) for name in METRICS} == pytest.approx(expected)


def test_worked_by_hand() -> None:
    assert score("ter", "a b x d", "a b c d") == 0.75  # one of four words is wrong
    assert score("ter", "c d a b", "a b c d") == 0.75  # one shift
    assert score("bleu", "a b c d e", "a b c d e f g h i j") == pytest.approx(0.36787944)  # all right, exp(1 - 10/5)
    assert score("chrf", "ab", "ab") == 1.0
    assert score("chrf", "xyz", "ab") == 0.0


@pytest.mark.parametrize("name", METRICS)
def test_right_and_wrong(name: str) -> None:
    assert judge(name, REFERENCE).passed is True
    assert judge(name, RESPONSES[0]).passed is False
    ladder = [score(name, text) for text in ("völlig falsch", "Wählen Sie eine Datei", RESPONSES[0], REFERENCE)]
    assert ladder == sorted(set(ladder))


def test_options_are_sacrebleus() -> None:
    plus = sacrebleu.sentence_chrf(RESPONSES[0], [REFERENCE], word_order=2).score / 100
    assert score("chrf", RESPONSES[0], word_order=2) == pytest.approx(plus)
    for name in METRICS:
        assert score(name, REFERENCE.upper(), lowercase=True) == 1.0 > score(name, REFERENCE.upper(), lowercase=False)
    with pytest.raises(WrongOption, match="word_order"):
        load("verifiers.metrics:Bleu", word_order=2)
    with pytest.raises(WrongOption, match="word_order"):
        load("verifiers.metrics:Chrf", word_order=3)


def test_the_signature_is_in_the_reason() -> None:
    assert "chrF2++|nrefs:1|case:mixed|eff:yes|nc:6|nw:2" in judge("chrf", "Datei", word_order=2).reason
    assert "BLEU|nrefs:1|case:mixed|eff:yes|tok:13a|smooth:exp" in judge("bleu", "Datei").reason
    assert "TER|nrefs:1|case:lc|tok:tercom" in judge("ter", "Datei").reason


@pytest.mark.parametrize(("target", "tokenizer"), [("zh_Hans", "zh"), ("th", "char"), ("pt_BR", "13a"), ("", "13a")])
def test_the_tokenizer_is_the_languages(target: str, tokenizer: str) -> None:
    verdict = judge("bleu", CHINESE[0], CHINESE[1], target)
    assert f"tok:{tokenizer}|" in verdict.reason
    expected = sacrebleu.sentence_bleu(CHINESE[0], [CHINESE[1]], tokenize=tokenizer).score / 100
    assert verdict.score == pytest.approx(expected)


def test_mecab_is_used_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    for found, expected in ((object(), "mecab"), (None, "char")):
        monkeypatch.setattr("verifiers.metrics.find_spec", lambda name, found=found: found)
        assert all(bleu_tokenizer(language).endswith(expected) for language in ("ja", "ko"))


def test_ter_of_chinese_counts_characters() -> None:
    assert score("ter", "选择文件", "选择文本", "zh") == 0.75
    assert score("ter", "选择文件", "选择文本", "de") == 0.0


@pytest.mark.parametrize("name", METRICS)
def test_corpus(name: str) -> None:
    references = [REFERENCE] * len(RESPONSES)
    expected = getattr(sacrebleu, f"corpus_{name}")(RESPONSES, [references]).score
    value, signature = corpus(name, RESPONSES, references, "de")
    assert value == pytest.approx(expected)
    assert "nrefs:1" in signature
    assert corpus("bleu", [CHINESE[0]], [CHINESE[1]], "zh-CN")[1].count("tok:zh") == 1


def test_corpus_wants_one_reference_a_response() -> None:
    for responses, references in ((["a"], []), ([], [])):
        with pytest.raises(ValueError, match="not one each"):
            corpus("chrf", responses, references)
    with pytest.raises(KeyError):
        corpus("rouge", ["a"], ["a"])
    with pytest.raises(ValueError, match="beta"):
        corpus("chrf", ["a"], ["a"], beta=3)


@pytest.mark.parametrize("name", METRICS)
def test_no_reference_is_invalid(name: str) -> None:
    for reference in (None, 5, "", " \u200b"):
        verdict = judge(name, "Datei", reference)
        assert verdict.status is Status.INVALID
        assert verdict.reason == "the task has no reference text"
    assert judge(name, "Datei", target=7).status is Status.INVALID


@pytest.mark.parametrize("name", METRICS)
@pytest.mark.parametrize("response", ["", " \n", "\u200b\u200d", "Datei " * 100_000, "Ordner. " * 50, "\0", "\ud800"])
def test_tricks_do_not_pay(name: str, response: str) -> None:
    begin = time.process_time()
    verdict = judge(name, response)
    assert verdict.status is Status.SCORED
    assert (verdict.score or 0.0) < 0.3
    assert time.process_time() - begin < 2


def test_the_shortcut_of_ter_is_right() -> None:
    for response in ("a b c d", "x y z u v w", "b a b a"):
        assert sacrebleu.sentence_ter(response, ["a b"]).score >= 100
        assert score("ter", response, "a b") == 0.0


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60), st.sampled_from(["de", "zh", "ja", "th", "xx", ""]))
def test_any_text_gets_a_verdict(response: str, reference: str, target: str) -> None:
    for name in METRICS:
        assert "verifier error" not in judge(name, response, reference, target).reason
