"""verifiers.pairwise against tournaments that were worked out by hand."""

from pathlib import Path

import pytest

from verifiers import Status, Task, Verdict, registry
from verifiers.pool import Pool, Spec

TARGET = "verifiers.pairwise:Pairwise"
HELPERS = Path(__file__).parent / "helpers"


@pytest.fixture(autouse=True)
def helpers_on_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(HELPERS))


def judged(judge: str, *answers: str) -> list[Verdict]:
    return registry.load(TARGET, judge=f"judges:{judge}").verify([Task("which?", answer) for answer in answers])


def scores(verdicts: list[Verdict]) -> list[float | None]:
    return [verdict.score for verdict in verdicts]


def test_a_tournament() -> None:
    """Lengths 1, 3, 2, 2: wins over three rivals are 0, 3, 1, 1, and the two of length 2 tie."""
    verdicts = judged("longer", "a", "bbb", "cc", "dd")
    assert scores(verdicts) == pytest.approx([0, 1, 1.5 / 3, 1.5 / 3])
    assert [verdict.passed for verdict in verdicts] == [False, True, False, False]
    assert [verdict.reason for verdict in verdicts] == [
        "won 0, tied 0, lost 3",
        "won 3, tied 0, lost 0",
        "won 1, tied 1, lost 1",
        "won 1, tied 1, lost 1",
    ]
    assert {verdict.parts["consistent"] for verdict in verdicts} == {1.0}


def test_a_circle_leaves_all_alike() -> None:
    assert scores(judged("circle", "rock", "paper", "scissors")) == [0.5, 0.5, 0.5]


def test_two_answers_are_one_pair() -> None:
    assert scores(judged("longer", "a", "bb")) == [0.0, 1.0]


def test_a_judge_that_prefers_a_place_decides_nothing() -> None:
    verdicts = judged("first", "a", "bb", "ccc")
    assert scores(verdicts) == [0.5, 0.5, 0.5]
    assert [verdict.parts["consistent"] for verdict in verdicts] == [0.0, 0.0, 0.0]


def test_only_what_both_orders_say_counts() -> None:
    """Lengths 1, 2, 4: the judge contradicts itself on (1, 2) alone, so that the shortest has half a point of two."""
    verdicts = judged("Lenient", "a", "bb", "dddd")
    assert scores(verdicts) == [0.25, 0.25, 1.0]
    assert [verdict.parts["consistent"] for verdict in verdicts] == [0.5, 0.5, 1.0]


def test_a_win_in_one_order_and_a_tie_in_the_other_is_a_tie() -> None:
    assert scores(judged("hesitant", "a", "bb")) == [0.5, 0.5]


@pytest.mark.parametrize(("answers", "questions"), [(("a", "bb", "ccc"), 6), (("a", "bb", "a", "bb"), 2), (("a", "a"), 0)])
def test_pairs_of_different_texts_are_asked_about_in_both_orders_and_once(answers: tuple[str, ...], questions: int) -> None:
    import judges

    judges.asked.clear()
    judged("Counting", *answers)
    asked = judges.asked
    assert len(set(asked)) == len(asked) == questions
    assert all((question, b, a) in asked for question, a, b in asked)
    assert {question for question, _, _ in asked} <= {"which?"}


def test_equal_answers_tie_with_each_other_and_count_like_any_rival() -> None:
    """a against (bb, a, bb): 0 + 0.5 + 0 of 3; bb against (a, a, bb): 1 + 1 + 0.5 of 3."""
    assert scores(judged("longer", "a", "bb", "a", "bb")) == pytest.approx([0.5 / 3, 2.5 / 3, 0.5 / 3, 2.5 / 3])


def test_an_only_answer_has_no_score() -> None:
    (verdict,) = judged("longer", "a")
    assert (verdict.status, verdict.reason) == (Status.INVALID, "there is no other answer to compare with")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("raise", "the judge failed: ConnectionError: no line"),
        ("nonsense", "the judge answered {'rock'}, not 'A', 'B' or 'tie'"),
    ],
)
def test_a_failing_judge_gives_no_score_to_those_compared(word: str, reason: str) -> None:
    """Every answer meets the one on which the judge fails, so that none can be told how many comparisons it won."""
    verdicts = judged("picky", "a", "bb", word)
    assert [(verdict.status, verdict.reason) for verdict in verdicts] == [(Status.INVALID, reason)] * 3


def test_a_pair_without_a_verdict_costs_its_two_answers_theirs() -> None:
    verdicts = judged("undecided", "a", "bb", "ccc", "dddd")
    assert scores(verdicts) == [None, None, pytest.approx(2 / 3), 1.0]
    assert verdicts[0].reason == "the judge answered None, not 'A', 'B' or 'tie'"


def test_in_a_worker_by_prompt() -> None:
    spec = Spec(TARGET, {"judge": "judges:Lenient"}, 4.0, group_aware=True)
    tasks = [Task(prompt, answer) for prompt in ("p", "q") for answer in ("a", "bb", "dddd")]
    with Pool({"better": spec}, workers=1, memory_mib=512) as pool:
        verdicts = pool.verify("better", tasks)
    assert scores(verdicts) == [0.25, 0.25, 1.0] * 2
    assert {verdict.verifier for verdict in verdicts} == {"better"}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, r"judge: Field required; its options: judge \(required\)$"),
        ({"judge": "longer"}, "judge: String should match pattern"),
        ({"judge": "judges:no_such"}, "no judge at judges:no_such: module 'judges' has no attribute 'no_such'"),
        ({"judge": "no_such:longer"}, "no judge at no_such:longer: No module named 'no_such'"),
        ({"judge": "judges:NOT_A_JUDGE"}, "judges:NOT_A_JUDGE is neither a function nor a class"),
    ],
)
def test_a_judge_that_is_none_is_a_wrong_option(options: dict[str, str], complaint: str) -> None:
    with pytest.raises(registry.WrongOption, match=complaint):
        registry.check_options(TARGET, options)
