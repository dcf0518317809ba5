"""Verifiers by the calling conventions of verl, TRL and OpenRLHF, and their reward functions as verifiers.

Outwards, e.g. in a file that verl's `reward.custom_reward_function` or OpenRLHF's `--reward.remote_url` names:

    compute_score = adapters.to_verl("math", language="de")
    reward_func = adapters.to_openrlhf("math")
    trainer = GRPOTrainer(..., reward_funcs=adapters.to_trl("translation_rules"))

Inwards, in a module that a configuration names as `use: my_rewards:Mine`:

    Mine = adapters.from_verl(compute_score)

Outwards, responses are judged in processes that can be killed, started with the first response.
"""

import json
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from verifiers import registry
from verifiers.options import VerifierOptions
from verifiers.pool import Pool, Spec
from verifiers.types import Task, Verdict, Verifier, invalid, scored

WORKERS, MEMORY_MIB = 2, 2048
_SPECIAL_AT_END = re.compile(r"(?:\s*(?:<\|[^|<>]+\|>|</s>|<eos>|<pad>|<end_of_turn>))+\s*$")


def to_verl(name_or_path: str, **options: Any) -> Callable[..., dict[str, float]]:
    """verl's `compute_score(data_source, solution_str, ground_truth, extra_info)`.

    `extra_info` is the task's meta, its `question` the prompt. The answer has `score`, `acc` and `invalid`: verl trains on
    every response, so an invalid one has score 0 there, and `invalid` 1 says in verl's metrics how many of those there are.
    """
    judge = _Judge(name_or_path, options)

    def compute_score(
        data_source: str, solution_str: str, ground_truth: Any, extra_info: Mapping[str, Any] | None = None, **_: Any
    ) -> dict[str, float]:
        meta = _json_like(extra_info or {})
        (verdict,) = judge([Task(str(meta.get("question", "")), solution_str, ground_truth, meta)])
        return {"score": verdict.score or 0.0, "acc": float(bool(verdict.passed)), "invalid": float(verdict.score is None)}

    return compute_score


def to_trl(name_or_path: str, **options: Any) -> Callable[..., list[float | None]]:
    """TRL's reward function of prompts, completions (texts or conversations) and the data set's columns.

    Columns: `reference`, `meta` (a mapping a row); every other column goes into meta under its name. None for invalid, which
    TRL leaves out of its statistics.
    """
    judge = _Judge(name_or_path, options)

    def reward(prompts: Sequence[Any], completions: Sequence[Any], **columns: Any) -> list[float | None]:
        listed = {key: values for key, values in columns.items() if key != "completion_ids" and isinstance(values, list)}
        rows = [{key: values[i] for key, values in listed.items()} for i in range(len(prompts))]
        return [verdict.score for verdict in judge([_trl_task(*row) for row in zip(prompts, completions, rows, strict=True)])]

    reward.__name__ = name_or_path.rpartition(":")[2]  # TRL logs by it
    return reward


def to_openrlhf(name_or_path: str, **options: Any) -> Callable[..., dict[str, Any]]:
    """OpenRLHF's `reward_func(queries, prompts, labels)`: `rewards`, `scores` [B] and `extra_logs`.

    A label is the reference. The response is the query without its prompt and without special tokens at its end. OpenRLHF trains
    on every response: an invalid one has score 0, and `invalid` 1 in `extra_logs`.

    Raises ValueError for a query that does not begin with its prompt.
    """
    import torch  # OpenRLHF's currency, which no other use of this module needs

    judge = _Judge(name_or_path, options)

    def reward_func(queries: Sequence[str], prompts: Sequence[str], labels: Sequence[Any], **_: Any) -> dict[str, Any]:
        rows = zip(queries, prompts, labels, strict=True)
        verdicts = judge([Task(prompt, _after(prompt, query), label) for query, prompt, label in rows])
        rewards = torch.tensor([verdict.score or 0.0 for verdict in verdicts])
        failed = torch.tensor([float(verdict.score is None) for verdict in verdicts])
        return {"rewards": rewards, "scores": rewards, "extra_logs": {"invalid": failed}}

    return reward_func


def from_verl(compute_score: Callable[..., Any]) -> type[Verifier]:
    """A verifier of verl's `compute_score`; `data_source` and `extra_info` come from the task's meta.

    It answers a number of 0..1 or a mapping with `score`; anything else is invalid.
    """

    def judge(task: Task) -> Verdict:
        answer = compute_score(
            data_source=task.meta.get("data_source", ""),
            solution_str=task.response,
            ground_truth=task.reference,
            extra_info=dict(task.meta),
        )
        return scored(answer["score"] if isinstance(answer, Mapping) else answer)

    return _verifier_class(compute_score, lambda tasks: [judge(task) for task in tasks])


def from_trl(reward: Callable[..., Any], reference: str = "reference", conversational: bool = True) -> type[Verifier]:
    """A verifier of TRL's reward function, which sees a prompt's responses together; None is invalid.

    `reference` is the column that gets the task's reference; the other columns are the fields of meta that all tasks have.
    `conversational`: prompts and completions are lists of messages, as from a conversational data set, not texts.
    """

    def judge(tasks: Sequence[Task]) -> list[Verdict]:
        shared = set.intersection(*(set(task.meta) for task in tasks))
        columns = {key: [task.meta[key] for task in tasks] for key in shared} | {reference: [task.reference for task in tasks]}
        prompts: list[Any] = [list(task.messages) if conversational else task.prompt for task in tasks]
        completions: list[Any] = [
            [{"role": "assistant", "content": task.response}] if conversational else task.response for task in tasks
        ]
        scores = reward(prompts=prompts, completions=completions, **columns)
        return [invalid("the reward function answered None") if score is None else scored(score) for score in scores]

    return _verifier_class(reward, judge, group_aware=True)


def from_openrlhf(reward_func: Callable[..., Any]) -> type[Verifier]:
    """A verifier of OpenRLHF's `reward_func`; it answers a mapping with `scores` (0..1), else `rewards`, or those alone."""

    def judge(tasks: Sequence[Task]) -> list[Verdict]:
        prompts = [task.prompt for task in tasks]
        queries = [task.prompt + task.response for task in tasks]
        answer = reward_func(queries, prompts, [task.reference for task in tasks])
        scores = answer.get("scores", answer.get("rewards")) if isinstance(answer, Mapping) else answer
        return [scored(float(score)) for score in scores]

    return _verifier_class(reward_func, judge)


class _Adapted:
    """Base of the classes that the adapters make."""

    Options: ClassVar[type[BaseModel]] = VerifierOptions
    timeout_is_failure: ClassVar[bool] = False
    judge: ClassVar[Callable[[Sequence[Task]], list[Verdict]]]

    def __init__(self, options: VerifierOptions) -> None: ...

    def verify(self, tasks: Sequence[Task]) -> list[Verdict]:
        return type(self).judge(tasks)


def _verifier_class(
    function: Callable[..., Any], judge: Callable[[Sequence[Task]], list[Verdict]], group_aware: bool = False
) -> type[Verifier]:
    namespace = {"__doc__": function.__doc__, "judge": staticmethod(judge), "group_aware": group_aware}
    return type(getattr(function, "__name__", "Adapted"), (_Adapted,), namespace)


class _Judge:
    """A verifier in its own processes, which start with the first response; it may be pickled to where those come."""

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        """Raises what registry.load does."""
        registry.check_options(name, options)
        self._name, self._options = name, options
        self._spec = Spec(registry.resolve(name), options, group_aware=registry.group_aware(name))
        self._lock = threading.Lock()
        self._pool: Pool | None = None

    def __call__(self, tasks: Sequence[Task]) -> list[Verdict]:
        with self._lock:
            self._pool = self._pool or Pool({self._name: self._spec}, WORKERS, MEMORY_MIB)
        return self._pool.verify(self._name, tasks)

    def __reduce__(self) -> tuple[Any, ...]:
        return _Judge, (self._name, self._options)


def _trl_task(prompt: Any, completion: Any, row: dict[str, Any]) -> Task:
    reference, meta = row.pop("reference", None), row.pop("meta", None)
    messages = tuple(prompt) if isinstance(prompt, list) else ()
    return Task(_text(prompt), _text(completion), reference, _json_like({**row, **(meta or {})}), messages)


def _text(text_or_messages: Any) -> str:
    """A text, or the content of a conversation's last message."""
    return text_or_messages if isinstance(text_or_messages, str) else str(text_or_messages[-1]["content"])


def _after(prompt: str, query: str) -> str:
    if not query.startswith(prompt):
        raise ValueError(f"the query does not begin with its prompt: {query[:60]!r}")
    return _SPECIAL_AT_END.sub("", query[len(prompt) :])


def _json_like(meta: Mapping[str, Any]) -> dict[str, Any]:
    """The fields that a verifier's process can be sent."""
    return {key: value for key, value in meta.items() if _is_json(value)}


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value)
    except (TypeError, ValueError):
        return False
    return True
