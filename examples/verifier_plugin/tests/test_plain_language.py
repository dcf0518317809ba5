"""The verifiers, found by name as a training run finds them."""

import pytest

from verifiers import Task, load, verify


def score(name, text, **options):
    (verdict,) = verify(load(name, **options), [Task("", text)])
    return verdict.score


@pytest.mark.parametrize(("text", "expected"), [("Short. Also short!", 1.0), ("Short. One two three four.", 0.5), ("", 0.0)])
def test_plain_language(text, expected):
    assert score("plain_language", text, most_words=3) == expected


def test_no_exclamation():
    assert score("no_exclamation", "Calm.") == 1.0
    assert score("no_exclamation", "Loud!") == 0.0
