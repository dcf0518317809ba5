"""The policy losses against TRL's own GRPOTrainer: its method is called, its trainer is not made."""

from collections import defaultdict
from types import SimpleNamespace

import pytest
import torch
from policy_cases import stage
from trl import GRPOTrainer

from tower_rl.losses.policy import Denominators, Objective, policy_loss

LONGEST = 20


def batch(rows=6, columns=9):
    """Log-probabilities, old and reference ones, advantages and mask; a few ratios are beyond every clip."""
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(columns)[None] < torch.tensor([2, 7, 9, 4, 3, 5])[:, None]
    old = -2 * torch.rand(rows, columns, generator=generator)
    new, reference = (old + 0.6 * torch.randn(rows, columns, generator=generator) for _ in range(2))
    advantages = torch.randn(rows, 1, generator=generator).expand(-1, columns)
    return (new * mask).requires_grad_(), old * mask, reference * mask, advantages * mask, mask


def trl_loss(loss_type, level, new, old, reference, advantages, mask, *, high=0.15):
    """GRPOTrainer._compute_loss on these log-probabilities; its `self` is what the method looks up in it."""
    args = SimpleNamespace(
        use_bias_correction_kl=False, delta=3.0, sapo_temperature_pos=1.0, sapo_temperature_neg=1.05, steps_per_generation=1
    )
    accelerator = SimpleNamespace(num_processes=1, gather=lambda x: x, reduce=lambda x, reduction: x)
    self = SimpleNamespace(
        args=args, accelerator=accelerator, model=SimpleNamespace(training=True), _metrics={"train": defaultdict(list)},
        loss_type=loss_type, importance_sampling_level=level, beta=0.3, epsilon_low=0.1, epsilon_high=high,
        aux_loss_enabled=False, top_entropy_quantile=1.0, off_policy_mask_threshold=None, use_vllm=False,
        vllm_importance_sampling_correction=False, current_gradient_accumulation_steps=1, max_completion_length=LONGEST,
        _entropy_bonus_enabled=False, _get_per_token_logps_and_entropies=lambda *_, **__: (new, torch.zeros_like(new), None),
    )  # fmt: skip
    prompt = torch.ones(len(mask), 1, dtype=torch.long)
    inputs = {"prompt_ids": prompt, "prompt_mask": prompt, "completion_ids": mask.long(), "completion_mask": mask.long()}
    inputs |= {"advantages": advantages, "old_per_token_logps": old, "ref_per_token_logps": reference}
    return GRPOTrainer._compute_loss(self, None, inputs | {"num_items_in_batch": mask.sum()})


@pytest.mark.parametrize(
    ("loss", "aggregation", "loss_type", "level"),
    [
        ("vanilla", "seq-mean-token-mean", "grpo", "token"),
        ("vanilla", "token-mean", "bnpo", "token"),
        ("vanilla", "token-mean", "dapo", "token"),
        ("vanilla", "seq-mean-token-sum-norm", "dr_grpo", "token"),
        ("gspo", "seq-mean-token-mean", "grpo", "sequence"),
        ("sapo", "seq-mean-token-mean", "sapo", "token"),
    ],
)
def test_grpo_trainer(loss, aggregation, loss_type, level):
    values = batch()
    about = stage(loss, aggregation, kl_coefficient=0.3)
    compare(about, values, trl_loss(loss_type, level, *values))


def test_cispo():
    """TRL bounds the ratio from above alone, by a number that is no distance from 1."""
    values = batch()
    about = stage("cispo", "token-mean", kl_coefficient=0.3).model_copy(update={"clip_low": 1.0, "clip_high": 0.15})
    compare(about, values, trl_loss("cispo", "token", *values, high=1.15))


def compare(about, values, wanted):
    objective = Objective.of(about)
    loss, sums = policy_loss(objective, Denominators(1, int(values[-1].sum()), len(values[0])), *values)
    assert sums["clip_share"] > 0 or about.loss == "sapo", "the test must reach the clip"
    torch.testing.assert_close(loss, wanted, rtol=1e-5, atol=1e-6)
    gradients = [torch.autograd.grad(x, values[0], retain_graph=True)[0] for x in (loss, wanted)]
    torch.testing.assert_close(*gradients, rtol=1e-4, atol=1e-6)
