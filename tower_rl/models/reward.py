"""A reward model: conversations in, a number each out, by transformers' classes for sequence classification with one label."""

import math
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from tower_rl.config import schema
from tower_rl.data.chat import Tokens, Unfit, transcripts
from tower_rl.models.load import FAMILIES, ModelError, load_tokenizer, load_weights
from tower_rl.status import tracked
from verifiers.types import Task, Verdict, invalid, scored

REWARD_FAMILIES = (*FAMILIES, "mistral")
"""The `model_type`s whose padded batches are tested; the forward pass is transformers' own."""


@dataclass(frozen=True, slots=True)
class RewardScorer:
    """A loaded reward model and what the configuration says about it."""

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    entry: schema.RewardModel

    def verdicts(self, tasks: Sequence[Task]) -> list[Verdict]:
        """One verdict a task: the sigmoid of the reward of its messages and its response, in the model's own chat template.

        Invalid: longer than `max_tokens`, refused by the template, a control token in a text, a reward that is not finite.
        """
        begin = time.perf_counter()
        made = transcripts(self.tokenizer, [[*task.messages, {"role": "assistant", "content": task.response}] for task in tasks])
        fit = [_fit(each, self.entry.max_tokens) for each in made]
        rows = list(dict.fromkeys(each for each in fit if not isinstance(each, Verdict)))  # equal answers once, and alike
        found = dict(zip(rows, rewards(self.model, rows, self.entry.batch_tokens), strict=True))
        verdicts = [each if isinstance(each, Verdict) else judged(found[each], self.entry) for each in fit]
        seconds = (time.perf_counter() - begin) / max(1, len(tasks))
        return [replace(verdict, seconds=seconds) for verdict in verdicts]


def load_scorer(folder: Path, entry: schema.RewardModel, device: str) -> RewardScorer:
    """The reward model of a local folder, on the device.

    Its head computes in float32: bfloat16 would make 20.125 of a reward of 20.1, and ties of near answers.

    Raises ModelError when it cannot be loaded, is no reward model, or cannot take batches of conversations of `max_tokens`.
    """
    tokenizer = load_tokenizer(folder)
    model: Any = load_weights(AutoModelForSequenceClassification, folder, entry.dtype, REWARD_FAMILIES)
    config = model.config
    if config.num_labels != 1:
        raise ModelError(f"the model in {folder} has {config.num_labels} labels; a reward model has one")
    if config.pad_token_id is None:  # by which the model finds the last token of a row
        raise ModelError(
            f"{folder} names no pad token, and answers are padded to be scored together; set pad_token_id in config.json"
        )
    if entry.max_tokens > config.max_position_embeddings:
        raise ModelError(f"{folder} has {config.max_position_embeddings} positions, fewer than max_tokens {entry.max_tokens}")
    if getattr(config, "attn_logit_softcapping", None) is not None:  # Gemma 2; transformers' sdpa leaves the cap out
        model.set_attn_implementation("eager")
    model.score.float().register_forward_pre_hook(lambda _, inputs: (inputs[0].float(),))
    return RewardScorer(model.to(device).eval(), tokenizer, entry)


def rewards(model: PreTrainedModel, rows: Sequence[Sequence[int]], batch_tokens: int) -> list[float]:
    """The reward of each row of token ids; rows of like length are computed together, padded on the right.

    A row's reward is the head's output at its last token that is not the pad token: transformers' rule, with or without padding.
    """
    found = [0.0] * len(rows)
    for batch in tracked("scoring", "batch", batches([len(row) for row in rows], batch_tokens)):
        for place, reward in zip(batch, _forward(model, [rows[place] for place in batch]), strict=True):
            found[place] = reward
    return found


def batches(lengths: Sequence[int], budget: int) -> list[list[int]]:
    """Places of rows, by length, in batches whose rows times their longest are at most `budget`; a longer row stands alone."""
    made: list[list[int]] = []
    for place in sorted(range(len(lengths)), key=lengths.__getitem__):
        if not made or (len(made[-1]) + 1) * lengths[place] > budget:
            made.append([])
        made[-1].append(place)
    return made


def judged(reward: float, entry: schema.RewardModel) -> Verdict:
    """The verdict on a reward: its score is sigmoid((reward - center) / width), and it has passed above `center`.

    For a model trained on comparisons that is the probability of beating an answer whose reward is `center` (at width 1; Bradley
    and Terry 1952). The reward itself is in the reason.
    """
    if not math.isfinite(reward):
        return invalid(f"the reward is {reward}")
    score = torch.tensor((reward - entry.center) / entry.width, dtype=torch.float64).sigmoid()
    return scored(float(score), passed=reward > entry.center, reason=f"reward {reward:.6g}")


def _fit(tokens: Tokens | Unfit, most: int) -> tuple[int, ...] | Verdict:
    """The token ids of a conversation that can be scored, or why it cannot."""
    if isinstance(tokens, Unfit):
        return invalid(str(tokens)[:500])
    length = len(tokens.token_ids)
    return invalid(f"over-length: {length} tokens, more than max_tokens {most}") if length > most else tokens.token_ids


@torch.inference_mode()
def _forward(model: PreTrainedModel, rows: Sequence[Sequence[int]]) -> list[float]:
    shape = (len(rows), max(map(len, rows)))
    ids, mask = torch.full(shape, model.config.pad_token_id), torch.zeros(shape, dtype=torch.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row)
        mask[place, : len(row)] = 1
    output = model(input_ids=ids.to(model.device), attention_mask=mask.to(model.device), use_cache=False)
    rewards_: list[float] = output.logits[:, 0].tolist()
    return rewards_
