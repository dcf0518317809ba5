"""How long a stage takes on the CPU of this machine, from the rate of one matrix product: an estimate, for the first minutes."""

from dataclasses import dataclass

import torch

from clusters.estimates import tokens_per_step
from clusters.placement import needs_reference
from clusters.shapes import Shape, shape_of
from tower_rl.config.schema import Config, Stage
from tower_rl.config.stages import PreferenceStage, RlvrStage
from tower_rl.models.precision import LARGE, rate

CUT_SHORT = 0.75
"""Tokens of a run over those of the plan, which takes responses for half as long as they may be: they get shorter in training."""


@dataclass(frozen=True, slots=True)
class Costs:
    """What tokens cost, fitted to the demo (SmolLM2-135M on 2 cores: bfloat16 with AMX, and float32 with AVX2, emulated)."""

    passed_flop: float = 4.2
    """FLOP a parameter of one forward pass over a token, at the rate of a product: 2 are needed."""
    passed_s: float = 4.3e-12
    """Seconds a parameter beside, whatever the rate."""
    sampled_flop: float = 4.0
    """FLOP a parameter of a sampled token."""
    decoded_s: float = 2.4e-10
    """Seconds a parameter of a decoding step, however many tokens it samples."""
    sync_s: float = 6e-9
    """Seconds a parameter of a weight sync."""
    start_s: float = 60.0
    """Seconds until all actors are there."""


COSTS = Costs()


def cpu_rate(dtype: str) -> float:
    """Measure the FLOP/s of a large product on this machine's CPU."""
    return 1e9 * rate(getattr(torch, dtype), LARGE)


def stage_seconds(config: Config, stage: Stage, flops: float, costs: Costs = COSTS) -> float | None:
    """Estimate the seconds of a stage on a CPU that multiplies matrices at `flops` FLOP/s.

    Returns:
        None for a model whose sizes are not known before it is loaded, and for preference, whose pairs are not known either.
    """
    shape = shape_of(config.model)
    if shape is None or isinstance(stage, PreferenceStage):
        return None
    if isinstance(stage, RlvrStage):
        panel = _sampling(config, config.evaluation.prompts * config.evaluation.samples, shape, flops, costs)
        return costs.start_s + 2 * panel + stage.steps * _rlvr_step(config, stage, shape, flops, costs)
    return costs.start_s + _passes(3 * stage.steps * stage.tokens_per_step, shape, flops, costs)


def _rlvr_step(config: Config, stage: RlvrStage, shape: Shape, flops: float, costs: Costs) -> float:
    passes = 3 * stage.epochs + needs_reference(stage) + stage.recomputes
    tokens = CUT_SHORT * tokens_per_step(config)
    sampled = _sampling(config, config.rollout.prompts_per_step * config.rollout.group_size, shape, flops, costs)
    return sampled + _passes(tokens * passes, shape, flops, costs) + costs.sync_s * shape.parameters


def _passes(tokens: float, shape: Shape, flops: float, costs: Costs) -> float:
    return tokens * shape.parameters * (costs.passed_flop / flops + costs.passed_s)


def _sampling(config: Config, responses: int, shape: Shape, flops: float, costs: Costs) -> float:
    if not responses:
        return 0.0
    longest = config.rollout.max_new_tokens
    tokens = CUT_SHORT * responses * longest / 2
    return shape.parameters * (tokens * costs.sampled_flop / flops + longest * costs.decoded_s)
