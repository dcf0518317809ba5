"""What a run would place where, in words. Needs no cluster."""

from clusters.forecast import forecast
from clusters.pace import cpu_rate, stage_seconds
from clusters.placement import PLENTY, layout, slots
from tower_rl.config.schema import Config, Stage
from tower_rl.config.stages import PreferenceStage, RlvrStage, SupervisedStage
from tower_rl.models.precision import Precision, choose, measure, warning
from tower_rl.reporting.text import span


def describe(config: Config) -> str:
    """The plan of a run: its actors, what each asks Ray for, and the size of a step."""
    lines = [f"{config.run.name}: model {config.model.path}, run folder {config.run.dir}, Ray {config.cluster.address}"]
    for index, stage in enumerate(config.stages):
        lines += ["", f"stage {index}-{stage.name} ({stage.kind}): {stage.steps} steps, checkpoint every {stage.save_every}"]
        lines += _of_stage(config, stage)
    lines += ["", *_here(config), *forecast(config)]
    return "\n".join(lines)


def _here(config: Config) -> list[str]:
    """The lines about this machine: the dtype that a run has here, and what it would take without GPUs."""
    found = measure()
    asked = config.model.dtype
    chosen = choose([found]) if asked == "auto" else Precision(asked, "as configured")
    lines = [f"on this machine {chosen}"]
    if told := warning(chosen.dtype, [found]):
        lines.append(f"  warning: {told}")
    if found.device == "CPU" and layout(slots(config, PLENTY), config.cluster.gpus_per_node).one_node:
        flops = cpu_rate(chosen.dtype)
        times = [(stage.name, stage_seconds(config, stage, flops)) for stage in config.stages]
        told = ", ".join(f"{name} about {span(seconds)}" for name, seconds in times if seconds is not None)
        lines.append(f"  without GPUs, at {flops / 1e9:,.0f} GFLOP/s: {told or 'nobody knows how long it takes'}")
    return lines


def _of_stage(config: Config, stage: Stage) -> list[str]:
    if isinstance(stage, PreferenceStage):
        return [*_actors(config), *_preference(config, stage)]
    return [*_actors(config), *_rlvr(config, stage)] if isinstance(stage, RlvrStage) else _supervised(config, stage)


def _supervised(config: Config, stage: SupervisedStage) -> list[str]:
    policy = config.policy
    packs = max(1, round(stage.tokens_per_step / stage.sequence_length))
    return [
        f"  {policy.workers} x policy rank on Ray Train: 1 CPU, 1 GPU each (none without GPUs), ZeRO stage {policy.zero_stage}",
        f"  a step: {stage.tokens_per_step} tokens, {packs} packs of {stage.sequence_length}",
        f"  at most {policy.tokens_per_micro_batch} tokens a forward pass",
        f"  in all: {stage.steps * stage.tokens_per_step:,} tokens of {', '.join(config.data.corpora)}",
    ]


def _rlvr(config: Config, stage: RlvrStage) -> list[str]:
    rollout, policy = config.rollout, config.policy
    rollouts = rollout.prompts_per_step * rollout.group_size
    shares = ", ".join(f"{name} ({config.data.weights.get(name, 1):g})" for name in config.data.sources)
    return [
        f"  prompts of {shares}",
        f"  a step: {rollout.prompts_per_step} prompts x {rollout.group_size} samples = {rollouts} rollouts",
        f"  at most {rollouts * rollout.max_new_tokens} new tokens, {policy.tokens_per_micro_batch} packed tokens a forward pass",
        f"  {policy.workers} data-parallel ranks, ZeRO stage {policy.zero_stage}, KL {stage.kl_coefficient}",
    ]


def _preference(config: Config, stage: PreferenceStage) -> list[str]:
    policy, rollout = config.policy, config.rollout
    rounds = "1 round" if stage.rounds == 1 else f"{stage.rounds} rounds"
    sampled = f"{rollout.group_size} samples of the policy" if stage.samples else "none sampled"
    given = "those that the data give" if stage.answers != "sampled" else "none given"
    weighted = f", weighted by alignment {stage.weighting.alignment}" if stage.weighting else ""
    return [
        f"  {rounds} of {stage.prompts_per_round} prompts and {stage.round_steps} steps",
        f"  answers to a prompt: {sampled}, {given}; pairs by the rule {stage.selection.rule}",
        f"  a step: {stage.pairs_per_step} pairs, at most {policy.tokens_per_micro_batch} packed tokens a forward pass",
        f"  loss {stage.loss}{weighted}, beta {stage.beta:g}, "
        + ("log-probabilities of the reference once a pair" if stage.needs_reference else "no reference"),
        f"  {policy.workers} data-parallel ranks, ZeRO stage {policy.zero_stage}",
    ]


def _actors(config: Config) -> list[str]:
    lines = []
    on_gpus = slots(config, PLENTY)
    for role in dict.fromkeys(slot.role for slot in on_gpus):
        places = [slot for slot in on_gpus if slot.role == role]
        own = "the GPUs of policy ranks" if places[0].beside is not None else f"{places[0].gpus:.0f} GPU each"
        lines.append(f"  {len(places)} x {role}: {places[0].cpus:.0f} CPU, {own} (none without GPUs)")
    return lines
