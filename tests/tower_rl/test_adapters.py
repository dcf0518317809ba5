"""Adapters, called as the peers call them."""

import pickle
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tower_rl import adapters
from verifiers import Status, Task, verify
from verifiers.registry import WrongOption


def judge(kind, *tasks):
    return verify(kind(kind.Options()), tasks, "n")


@pytest.fixture(scope="module")
def math():
    """verl pickles reward functions to its workers."""
    return pickle.loads(pickle.dumps(adapters._Judge("math", {"last_number": True})))


def test_verl_calls_by_keyword_from_threads():
    compute_score = adapters.to_verl("math", last_number=True)
    with ThreadPoolExecutor(2) as threads:
        answers = list(
            threads.map(
                lambda text: compute_score(
                    data_source="sums",
                    solution_str=text,
                    ground_truth="7",
                    extra_info={"question": "3 + 4?", "num_turns": None, "array": np.zeros(2)},
                    reward_router_address=None,
                ),
                ["It is 7", "It is 8"],
            )
        )
    assert answers == [{"score": 1.0, "acc": 1.0, "invalid": 0.0}, {"score": 0.0, "acc": 0.0, "invalid": 0.0}]


def test_verl_is_told_of_invalid_verdicts():
    compute_score = adapters.to_verl("constraints")
    assert compute_score("x", "text", None) == {"score": 0.0, "acc": 0.0, "invalid": 1.0}


def test_trl_calls_with_columns():
    reward = adapters.to_trl("constraints")
    assert reward.__name__ == "constraints"
    rules = [{"rule": "lowercase"}]
    common = {"completion_ids": [[1], [2], [3]], "trainer_state": object(), "log_extra": print, "log_metric": print}
    messages = [[{"role": "assistant", "content": text}] for text in ("small", "BIG", "small")]
    asked = [{"role": "user", "content": "write"}]
    assert reward(prompts=[asked] * 3, completions=messages, rules=[rules, rules, None], **common) == [1.0, 0.0, None]
    assert reward(prompts=["write"] * 3, completions=["small", "BIG", "x"], meta=[{"rules": rules}] * 3, **common)[:2] == [
        1.0,
        0.0,
    ]


def test_openrlhf_calls_with_whole_queries():
    reward_func = adapters.to_openrlhf("math", last_number=True)
    prompt = "<|im_start|>user\n3 + 4?<|im_end|>\n"
    answer = reward_func([f"{prompt}It is 7<|im_end|>\n", f"{prompt}<b>8</b></s>"], [prompt] * 2, ["7", "7"])
    assert answer["rewards"].tolist() == answer["scores"].tolist() == [1.0, 0.0]
    assert answer["extra_logs"]["invalid"].tolist() == [0.0, 0.0]
    with pytest.raises(ValueError, match="does not begin with its prompt"):
        reward_func(["other"], [prompt], ["7"])


def test_special_tokens_at_the_end_are_no_part_of_the_response():
    assert adapters._after("p ", "p <b>8</b> <|im_end|>\n<|endoftext|>") == "<b>8</b>"


def test_wrong_options_are_told_at_once():
    with pytest.raises(WrongOption, match="langage"):
        adapters.to_verl("math", langage="de")


def test_pickled_judges_work(math):
    assert [verdict.score for verdict in math([Task("", "7", "7"), Task("", "8", "7")])] == [1.0, 0.0]


TASKS = (
    Task("3 + 4?", "7", "7", {"data_source": "sums", "level": 1}, ({"role": "user", "content": "3 + 4?"},)),
    Task("3 + 4?", "8", "7", {"data_source": "sums", "level": 2, "extra": 0}, ({"role": "user", "content": "3 + 4?"},)),
)


def test_from_verl():
    def compute_score(data_source, solution_str, ground_truth, extra_info=None):
        """Exact match."""
        assert data_source == "sums"
        assert "level" in extra_info
        return {"score": float(solution_str == ground_truth), "acc": True}

    kind = adapters.from_verl(compute_score)
    assert kind.__doc__ == "Exact match."
    assert [verdict.score for verdict in judge(kind, *TASKS)] == [1.0, 0.0]
    assert judge(adapters.from_verl(lambda **_: -1.0), TASKS[0])[0].status is Status.INVALID


def test_from_trl():
    def reward(prompts, completions, solution, level, **kwargs):
        assert set(kwargs) == set(), "columns that all rows have"
        assert prompts[0] == [{"role": "user", "content": "3 + 4?"}]
        right = [c[0]["content"] == s for c, s in zip(completions, solution, strict=True)]
        return [None if one == 2 else float(ok) for ok, one in zip(right, level, strict=True)]

    kind = adapters.from_trl(lambda data_source, **columns: reward(**columns), reference="solution")
    assert kind.group_aware
    assert [verdict.score for verdict in judge(kind, *TASKS)] == [1.0, None]
    plain = adapters.from_trl(lambda prompts, completions, **_: [float(c == "7") for c in completions], conversational=False)
    assert [verdict.score for verdict in judge(plain, *TASKS)] == [1.0, 0.0]


def test_from_verls_own_reward_functions():
    from verl.utils.reward_score import default_compute_score

    kind = adapters.from_verl(default_compute_score)
    tasks = [Task("3 + 4?", f"It is so. #### {answer}", "7", {"data_source": "openai/gsm8k"}) for answer in (7, 8)]
    assert [verdict.score for verdict in judge(kind, *tasks)] == [1.0, 0.0]
    assert judge(kind, Task("", "7", "7"))[0].status is Status.INVALID, "verl knows no data source of that name"


def test_from_openrlhf():
    def reward_func(queries, prompts, labels, **kwargs):
        right = [q.removeprefix(p) == label for q, p, label in zip(queries, prompts, labels, strict=True)]
        return {"rewards": 2 * torch.tensor(right).float(), "scores": torch.tensor(right).float(), "extra_logs": {}}

    assert [verdict.score for verdict in judge(adapters.from_openrlhf(reward_func), *TASKS)] == [1.0, 0.0]
    assert [v.score for v in judge(adapters.from_openrlhf(lambda q, p, labels: [0.25] * len(q)), *TASKS)] == [0.25, 0.25]
